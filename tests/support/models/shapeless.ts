/** No device model: a module for the test that says so. */

export const model = "a module without a default function";
