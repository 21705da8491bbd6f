/** The ids of the two domains in a guest's world: a process has one guest. */

/** The host, and all back ends on it: Xen's domain 0, which owns whatever is not the guest's. */
export const HOST_DOMID = 0;

/** The guest. */
export const GUEST_DOMID = 1;
