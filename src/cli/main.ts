/** The commands' entry: which one, and on a host where they can work at all. */

const HOST_STATUS = 69, USAGE_STATUS = 64;

/** Runs the command that `args` name and exits with its status. */
export async function main(args: string[]): Promise<never> {
  const [command, ...rest] = args;
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    console.error(`xenolith: needs x86-64 Linux; this is ${Deno.build.arch} ${Deno.build.os}`);
    Deno.exit(HOST_STATUS);
  }
  switch (command) {
    case "run":
      Deno.exit(await (await import("./run.ts")).run(rest));
      break;
    case "doctor":
      Deno.exit(await (await import("./doctor.ts")).doctor(rest));
      break;
    case "dm":
      Deno.exit(await (await import("./dm.ts")).dm(rest));
      break;
    case "payload":
      Deno.exit(await (await import("./payload.ts")).payload(rest));
      break;
    case "dev":
      Deno.exit(await (await import("./dev.ts")).dev(rest));
      break;
    default:
      console.error(
        `xenolith: ${
          command === undefined ? "no command" : `unknown command ${command}`
        }: run, doctor, dm, payload or dev`,
      );
      Deno.exit(USAGE_STATUS);
  }
}

if (import.meta.main) await main(Deno.args);
