/** Text that comes in lines. */

/**
 * The lines of a stream; an unfinished last one is dropped.
 * @param check called with what has come of a line that has no end yet; what it throws ends the lines
 */
export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  check: (unfinished: string) => void = () => {},
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + text).split("\n");
    rest = whole.pop()!;
    yield* whole;
    check(rest);
  }
}
