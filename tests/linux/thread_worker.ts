/** The Worker behind threads.ts. */

declare const self: Worker;

self.onmessage = async ({ data }: MessageEvent<{ module: string; name: string; args: unknown[] }>) => {
  try {
    const body = (await import(data.module))[data.name];
    self.postMessage({ kind: "ready" });
    self.postMessage({ kind: "result", result: await body(...data.args) });
  } catch (error) {
    self.postMessage({ kind: "failed", message: error instanceof Error ? error.stack : String(error) });
  }
};
