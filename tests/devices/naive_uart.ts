/** A second 16550A, written for reading and not for speed: what src/devices/uart.ts is compared with. */

interface Received {
  readonly byte: number;
  readonly looped: boolean;
}

/** The chip, the console's input and the line level, in plain fields; one byte-wide access at a time. */
export class NaiveUart {
  ier = 0;
  fcr = 0;
  lcr = 0;
  mcr = 0;
  scr = 0;
  divisor = 1;
  overrun = false;
  emptyToTell = false;
  lines = 0xb0;
  changes = 0;
  polls = 0;
  receiver: Received[] = [];
  /** Input that the console has read, and what it has not. */
  buffered: number[] = [];
  typed: number[] = [];
  /** Input that the guest has read. */
  delivered: number[] = [];
  printed = "";

  get level(): boolean {
    return (this.mcr & 8) !== 0 && this.reasons().length > 0;
  }

  /** All that is pending and enabled, by priority. */
  reasons(): number[] {
    const fifo = (this.fcr & 1) !== 0;
    const trigger = fifo ? { 0: 1, 1: 4, 2: 8, 3: 14 }[this.fcr >> 6]! : 1;
    const pending: [reason: number, enabledBy: number, present: boolean][] = [
      [6, 4, this.overrun],
      [4, 1, this.receiver.length >= trigger],
      [12, 1, this.receiver.length > 0],
      [2, 2, this.emptyToTell],
      [0, 8, this.changes !== 0],
    ];
    return pending.filter(([, enabledBy, present]) => present && (this.ier & enabledBy) !== 0).map(([reason]) =>
      reason
    );
  }

  sleep(): void {
    this.arrive();
    if (this.listens() && this.buffered.length === 0) this.buffered.push(...this.typed.splice(0));
    this.arrive();
  }

  read(offset: number): number {
    const latch = this.lcr >= 0x80;
    if (offset === 0) return latch ? this.divisor & 0xff : this.readData();
    if (offset === 1) return latch ? this.divisor >> 8 : this.ier;
    if (offset === 2) return this.readIdentification();
    if (offset === 3) return this.lcr;
    if (offset === 4) return this.mcr;
    if (offset === 5) return this.readLineStatus();
    if (offset === 6) return this.readModemStatus();
    return this.scr;
  }

  write(offset: number, value: number): void {
    const latch = this.lcr >= 0x80;
    if (offset === 7) this.scr = value;
    else if (offset === 0 && latch) this.divisor = (this.divisor & 0xff00) | value;
    else if (offset === 1 && latch) this.divisor = (this.divisor & 0xff) | (value << 8);
    else if (offset === 0) this.send(value);
    else if (offset < 5) {
      this.polls = 0;
      if (offset === 1) this.enable(value & 15);
      if (offset === 2) this.controlFifo(value);
      if (offset === 3) this.lcr = value;
      if (offset === 4) this.controlModem(value & 31);
    }
  }

  private listens(): boolean {
    const room = this.receiver.length < (this.fcr & 1 ? 16 : 1);
    return room && (this.mcr & 16) === 0 && ((this.ier & 1) !== 0 || this.polls === 2);
  }

  private arrive(): void {
    while (this.listens() && this.buffered.length > 0) {
      this.receiver.push({ byte: this.buffered.shift()!, looped: false });
    }
  }

  private readData(): number {
    this.polls = this.polls === 2 ? 2 : 0;
    const received = this.receiver.shift();
    if (received === undefined) return 0;
    if (!received.looped) this.delivered.push(received.byte);
    this.arrive();
    return received.byte;
  }

  private readIdentification(): number {
    this.polls = this.polls === 2 ? 2 : 0;
    const reason = this.reasons()[0] ?? 1;
    if (reason === 2) this.emptyToTell = false;
    return (this.fcr & 1 ? 0xc0 : 0) + reason;
  }

  private readLineStatus(): number {
    this.polls = Math.min(2, this.polls + 1);
    if (this.polls === 2) this.arrive();
    const status = 0x60 + (this.overrun ? 2 : 0) + (this.receiver.length > 0 ? 1 : 0);
    this.overrun = false;
    return status;
  }

  private readModemStatus(): number {
    this.polls = this.polls === 2 ? 2 : 0;
    const status = this.lines + this.changes;
    this.changes = 0;
    return status;
  }

  private send(byte: number): void {
    this.emptyToTell = (this.ier & 2) !== 0;
    if ((this.mcr & 16) === 0) {
      this.printed += String.fromCharCode(byte);
    } else if (this.receiver.length < (this.fcr & 1 ? 16 : 1)) {
      this.receiver.push({ byte, looped: true });
    } else {
      this.overrun = true;
      if (this.fcr & 1) return;
      this.empty();
      this.receiver.push({ byte, looped: true });
    }
  }

  private enable(value: number): void {
    if ((value & 2) === 0) this.emptyToTell = false;
    else if ((this.ier & 2) === 0) this.emptyToTell = true;
    this.ier = value;
    this.arrive();
  }

  private controlFifo(value: number): void {
    const toggles = (value & 1) !== (this.fcr & 1);
    if (toggles || (value & 3) === 3) this.empty();
    this.fcr = value & 1 ? value : 0;
  }

  private controlModem(value: number): void {
    const before = this.lines;
    this.mcr = value;
    this.lines = 0xb0;
    if (value & 16) {
      this.lines = (value & 2 ? 0x10 : 0) + (value & 1 ? 0x20 : 0) + (value & 4 ? 0x40 : 0) + (value & 8 ? 0x80 : 0);
    }
    const differ = before ^ this.lines;
    if (differ & 0x10) this.changes |= 1;
    if (differ & 0x20) this.changes |= 2;
    if (differ & before & 0x40) this.changes |= 4;
    if (differ & 0x80) this.changes |= 8;
    this.arrive();
  }

  /** Input that the guest has not read is not lost by emptying the receiver. */
  private empty(): void {
    this.buffered.unshift(...this.receiver.filter(({ looped }) => !looped).map(({ byte }) => byte));
    this.receiver = [];
  }
}
