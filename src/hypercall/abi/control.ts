/** What a guest that may not use them sees of the control hypercalls (xen/sysctl.h, domctl.h, platform.h). */

/** Versions of the interfaces: what interface_version must hold. */
export const XEN_SYSCTL_INTERFACE_VERSION = 0x15,
  XEN_DOMCTL_INTERFACE_VERSION = 0x15,
  XENPF_INTERFACE_VERSION = 0x0300_0001;

/** struct xen_sysctl. */
export const SYSCTL = { cmd: 0, interface_version: 4, u: 8, bytes: 136 } as const;

/** struct xen_domctl. */
export const DOMCTL = { cmd: 0, interface_version: 4, domain: 8, u: 16, bytes: 144 } as const;

/** struct xen_platform_op. */
export const PLATFORM_OP = { cmd: 0, interface_version: 4, u: 8, bytes: 136 } as const;
