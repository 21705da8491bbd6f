/** What a guest sees of us that Xen does not have. */

/** Where a guest reaches us without a hypercall page: `out 0xe8, eax` with the arguments in Xen's registers. */
export const HYPERCALL_PORT = 0xe8;

/** The version that a guest finds: 4.17, major in the upper half. */
export const XEN_VERSION = (4 << 16) | 17;
