/** Ethernet frames as a test sends them and looks at them: ARP, ICMP echo, UDP, TCP's first segment. */

const ARP = 0x0806, IP = 0x0800, ICMP = 1, TCP = 6, UDP = 17;

/** Everybody's address. */
export const BROADCAST = "ff:ff:ff:ff:ff:ff";

/** Who sends a frame, and to whom. */
export interface Ends {
  readonly fromMac: string;
  readonly toMac: string;
  readonly from: string;
  readonly to: string;
}

const mac = (text: string) => text.split(":").map((byte) => parseInt(byte, 16));
const ip = (text: string) => text.split(".").map(Number);
const half = (value: number) => [value >> 8, value & 0xff];
const word = (value: number) => [...half(value >>> 16), ...half(value & 0xffff)];

/** The Internet's checksum. */
export function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at] * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

export function arpRequest({ fromMac, from, to }: Omit<Ends, "toMac">): Uint8Array<ArrayBuffer> {
  const request = [0, 1, ...half(IP), 6, 4, 0, 1, ...mac(fromMac), ...ip(from), 0, 0, 0, 0, 0, 0, ...ip(to)];
  return Uint8Array.of(...mac(BROADCAST), ...mac(fromMac), ...half(ARP), ...request);
}

/** Who answers an ARP request with this frame, as "ADDRESS is at MAC". */
export function arpReply(frame: Uint8Array): string | undefined {
  if (frame[12] !== 8 || frame[13] !== 6 || frame[21] !== 2) return undefined;
  const address = Array.from(frame.subarray(22, 28), (byte) => byte.toString(16).padStart(2, "0")).join(":");
  return `${frame.subarray(28, 32).join(".")} is at ${address}`;
}

export function echoRequest(ends: Ends, sequence: number, data: readonly number[]): Uint8Array<ArrayBuffer> {
  const message = (sum: number) => [8, 0, ...half(sum), 0x12, 0x34, ...half(sequence), ...data];
  return packet(ends, ICMP, message(checksum(message(0))));
}

/** Of an echo reply: sequence and data. */
export function echoReply(frame: Uint8Array): { sequence: number; data: number[] } | undefined {
  if (frame[12] !== 8 || frame[13] !== 0 || frame[23] !== ICMP || frame[34] !== 0) return undefined;
  return { sequence: frame[40] * 256 + frame[41], data: [...frame.subarray(42)] };
}

export function datagram(ends: Ends, port: number, data: readonly number[] = []): Uint8Array<ArrayBuffer> {
  return packet(ends, UDP, [...half(port), ...half(port), ...half(8 + data.length), 0, 0, ...data]);
}

/** TCP's SYN. */
export function connectionRequest(ends: Ends, port: number): Uint8Array<ArrayBuffer> {
  const segment = (sum: number) => [
    ...half(40_000),
    ...half(port),
    ...word(1),
    ...word(0),
    0x50,
    2,
    ...half(8192),
    ...half(sum),
    0,
    0,
  ];
  return packet(ends, TCP, segment(checksum([...ip(ends.from), ...ip(ends.to), 0, TCP, 0, 20, ...segment(0)])));
}

/** The flags of a TCP segment. */
export function tcpFlags(frame: Uint8Array): number | undefined {
  return frame[12] === 8 && frame[13] === 0 && frame[23] === TCP ? frame[47] : undefined;
}

function packet({ fromMac, toMac, from, to }: Ends, protocol: number, payload: readonly number[]) {
  const header = (sum: number) => {
    const head = [0x45, 0, ...half(20 + payload.length), 0, 0, 0, 0, 64, protocol, ...half(sum)];
    return [...head, ...ip(from), ...ip(to)];
  };
  return Uint8Array.of(...mac(toMac), ...mac(fromMac), ...half(IP), ...header(checksum(header(0))), ...payload);
}
