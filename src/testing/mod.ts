/**
 * Booting guests in tests, on real KVM.
 *
 * @module
 */

export { boot, type BootOptions, type Exit, TestMachine } from "./boot.ts";
export { ExpectError, type ExpectOptions, TestConsole } from "./console.ts";
