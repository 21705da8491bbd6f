/** Lines of a stream of bytes. */
export async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let text = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    const whole = (text + part).split("\n");
    text = whole.pop()!;
    yield* whole;
  }
}
