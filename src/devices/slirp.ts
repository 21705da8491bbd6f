/** libslirp (libslirp.h, SlirpConfig version 1) by FFI: its functions, and its structures as data. */

/** The library's file, and where it comes from. */
export const SLIRP_LIBRARY = "libslirp.so.0", SLIRP_PACKAGE = "libslirp0";

/** One symbol a line, with the header's names of the parameters. */
const SYMBOLS = {
  slirp_new: { parameters: ["buffer", "buffer", "pointer"], result: "pointer" }, // cfg, callbacks, opaque
  slirp_cleanup: { parameters: ["pointer"], result: "void" }, // slirp
  slirp_input: { parameters: ["pointer", "buffer", "i32"], result: "void" }, // slirp, pkt, pkt_len
  slirp_pollfds_fill: { parameters: ["pointer", "buffer", "function", "pointer"], result: "void" }, // slirp, timeout, add_poll, opaque
  slirp_pollfds_poll: { parameters: ["pointer", "i32", "function", "pointer"], result: "void" }, // slirp, select_error, get_revents, opaque
  slirp_add_hostfwd: { parameters: ["pointer", "i32", "u32", "i32", "u32", "i32"], result: "i32" }, // slirp, is_udp, host_addr, host_port, guest_addr, guest_port
} as const;

/** The open library. */
export type SlirpLibrary = Deno.DynamicLibrary<typeof SYMBOLS>;

/** Loads the library. @throws {Error} the loader's: there is none, or it is older than 4.1 */
export function openSlirp(): SlirpLibrary {
  return Deno.dlopen(SLIRP_LIBRARY, SYMBOLS);
}

/** Signatures of what the library calls. A size_t is taken by its lower half: no frame has 4 GiB. */
export const SLIRP_CALLBACK = {
  send_packet: { parameters: ["pointer", "u32", "pointer"], result: "i64" }, // buf, len, opaque
  guest_error: { parameters: ["pointer", "pointer"], result: "void" }, // msg, opaque
  clock_get_ns: { parameters: ["pointer"], result: "i64" }, // opaque
  nothing: { parameters: ["pointer"], result: "void" },
  add_poll: { parameters: ["i32", "i32", "pointer"], result: "i32" }, // fd, events, opaque
  get_revents: { parameters: ["i32", "pointer"], result: "i32" }, // idx, opaque
} as const;

/** struct SlirpCb as of version 1: pointers to functions, in this order. */
export const SLIRP_CALLBACKS = [
  "send_packet",
  "guest_error",
  "clock_get_ns",
  "timer_new",
  "timer_free",
  "timer_mod",
  "register_poll_fd",
  "unregister_poll_fd",
  "notify",
] as const;

/** struct SlirpConfig as of version 1; what is not here is 0. */
export const SLIRP_CONFIGURATION = {
  version: 0,
  restricted: 4,
  in_enabled: 8,
  vnetwork: 12,
  vnetmask: 16,
  vhost: 20,
  vdhcp_start: 96,
  vnameserver: 100,
  bytes: 184,
} as const;
export const SLIRP_VERSION = 1;

/** Events of a descriptor, as the library has them. */
export const SLIRP_POLL = { IN: 1, OUT: 2, PRI: 4, ERR: 8, HUP: 16 } as const;

/** The timeout that stands for none. */
export const SLIRP_NO_TIMEOUT = 0xffff_ffff;
