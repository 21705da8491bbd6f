/** xen_version (xen/version.h). */

/** Subops (XENVER_*). */
export const XENVER = {
  version: 0,
  extraversion: 1,
  compile_info: 2,
  capabilities: 3,
  changeset: 4,
  platform_parameters: 5,
  get_features: 6,
  pagesize: 7,
  guest_handle: 8,
  commandline: 9,
  build_id: 10,
} as const;

/** Bytes that a subop writes where the header declares an array of them. */
export const XENVER_BYTES = {
  extraversion: 16,
  capabilities: 1024,
  changeset: 64,
  guest_handle: 16,
  commandline: 1024,
} as const;

/** struct xen_compile_info: each field is a string that fills what there is up to the next. */
export const COMPILE_INFO = { compiler: 0, compile_by: 64, compile_domain: 80, compile_date: 112, bytes: 144 } as const;

/** struct xen_platform_parameters. */
export const PLATFORM_PARAMETERS = {
  64: { virt_start: 0, bytes: 8, long: 8 },
  32: { virt_start: 0, bytes: 4, long: 4 },
} as const;

/** struct xen_feature_info. */
export const FEATURE_INFO = { submap_idx: 0, submap: 4, bytes: 8 } as const;

/** struct xen_build_id; the build id follows it in buf. */
export const BUILD_ID = { len: 0, buf: 4, bytes: 4 } as const;
