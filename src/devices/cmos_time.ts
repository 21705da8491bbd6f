/** The MC146818's time registers: how a moment stands in them, in the format that register B asks for. */

/** Seconds, minutes, hours, day of week (1 is Sunday), day, month, year, and the century where ACPI's FADT names it. */
export const TIME_REGISTERS: readonly number[] = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32];

const [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY] = TIME_REGISTERS;
const BINARY = 0x04, HOURS_24 = 0x02; // register B
const PM = 0x80; // in the hours, when they count to 12

const date = new Date(0); // for reckoning only

/** Writes the moment `timeMs` (UTC, since 1970) into the time registers of `bytes`. */
export function encodeTime(timeMs: number, bytes: Uint8Array, controlB: number): void {
  date.setTime(timeMs);
  const hours = date.getUTCHours(), year = date.getUTCFullYear();
  bytes[SECONDS] = encode(date.getUTCSeconds(), controlB);
  bytes[MINUTES] = encode(date.getUTCMinutes(), controlB);
  if (controlB & HOURS_24) bytes[HOURS] = encode(hours, controlB);
  else bytes[HOURS] = encode(hours % 12 || 12, controlB) | (hours >= 12 ? PM : 0);
  bytes[WEEKDAY] = encode(date.getUTCDay() + 1, controlB);
  bytes[DAY] = encode(date.getUTCDate(), controlB);
  bytes[MONTH] = encode(date.getUTCMonth() + 1, controlB);
  bytes[YEAR] = encode(year % 100, controlB);
  bytes[CENTURY] = encode(Math.floor(year / 100), controlB);
}

/** The moment that the time registers of `bytes` name. What is out of range carries over; the day of week follows. */
export function decodeTime(bytes: Uint8Array, controlB: number): number {
  const year = decode(bytes[CENTURY], controlB) * 100 + decode(bytes[YEAR], controlB);
  date.setTime(0);
  date.setUTCFullYear(year, decode(bytes[MONTH], controlB) - 1, decode(bytes[DAY], controlB));
  const hours = controlB & HOURS_24
    ? decode(bytes[HOURS], controlB)
    : decode(bytes[HOURS] & ~PM, controlB) % 12 + (bytes[HOURS] & PM ? 12 : 0);
  date.setUTCHours(hours, decode(bytes[MINUTES], controlB), decode(bytes[SECONDS], controlB));
  return date.getTime();
}

function encode(value: number, controlB: number): number {
  return controlB & BINARY ? value : Math.floor(value / 10) << 4 | value % 10;
}

function decode(byte: number, controlB: number): number {
  return controlB & BINARY ? byte : (byte >> 4) * 10 + (byte & 0x0f);
}
