/** A method that does something else for a while: for calls that fail, and for what other threads do between two calls. */

/**
 * Runs `body` while `object[method]` is `replacement`.
 * @param replacement gets the original, bound, and the arguments
 */
export function replacing<T extends object, K extends keyof T, R>(
  object: T,
  method: K,
  // deno-lint-ignore no-explicit-any -- any method of any object
  replacement: (original: (...args: any[]) => any, ...args: any[]) => unknown,
  body: () => R,
): R {
  const original = object[method] as (...args: unknown[]) => unknown;
  const own = Object.getOwnPropertyDescriptor(object, method);
  const bound = (...args: unknown[]) => Reflect.apply(original, object, args);
  Reflect.set(object, method, (...args: unknown[]) => replacement(bound, ...args));
  try {
    return body();
  } finally {
    if (own === undefined) Reflect.deleteProperty(object, method);
    else Object.defineProperty(object, method, own);
  }
}

/** A replacement that answers call number `at` (from 0 on) with `result`, without making it. */
// deno-lint-ignore no-explicit-any -- as above
export function failing(at: number, result: unknown): (original: (...args: any[]) => any, ...args: any[]) => unknown {
  let calls = 0;
  return (original, ...args) => calls++ === at ? result : original(...args);
}

/** A replacement that does `interfere` once, right after the first call. */
// deno-lint-ignore no-explicit-any -- as above
export function thenOnce(interfere: () => void): (original: (...args: any[]) => any, ...args: any[]) => unknown {
  let done = false;
  return (original, ...args) => {
    const result = original(...args);
    if (!done) {
      done = true;
      interfere();
    }
    return result;
  };
}
