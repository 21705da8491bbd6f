/** What a network device has behind it: the interface, and what users say of it. */

/** A wire with somebody at its other end. Nothing here waits, and frames that there is no room for are lost. */
export interface Network extends Disposable {
  /** What is to be watched at the moment; it may change from one wait to the next. */
  readonly descriptor: number;
  /** The poll(2) events wanted; -1: nothing at all. @param receiving whether there is room for frames that come */
  interest(receiving: boolean): number;
  /** The descriptor is ready. @param events what poll(2) said */
  ready(events: number): void;
  /**
   * Takes the next frame that has come; what is no frame, or too long for `frame`, is left out.
   * @returns its size in bytes, or 0: there is none
   */
  receive(frame: Uint8Array<ArrayBuffer>): number;
  /** Sends the first `sizeBytes` bytes as one frame. */
  send(frame: Uint8Array<ArrayBuffer>, sizeBytes: number): void;
  /** Called each time before somebody waits for the descriptor. */
  settle?(): void;
}

/** What the user asked for is no network (exit status 64). One line. */
export class NetworkError extends Error {
  static {
    this.prototype.name = "NetworkError";
  }

  /** @param network its kind, and what says which: "socket /tmp/wire" @param why the reason */
  constructor(readonly network: string, why: string) {
    super(`net ${network}: ${why}`);
  }
}

/** The host does not have it, or does not permit it (exit status 69). One line that says what to do. */
export class NetworkUnavailable extends Error {
  static {
    this.prototype.name = "NetworkUnavailable";
  }

  /**
   * The message is made of both.
   * @param network its kind, and what says which: "tap tap0"
   * @param why the reason
   */
  constructor(readonly network: string, why: string) {
    super(`net ${network}: ${why}`);
  }
}

/** A Unix socket with the frames of one other machine. */
export interface SocketNetworkOptions {
  /** Which network. */
  readonly kind: "socket";
  /** Where the socket is, or is to be. */
  readonly path: string;
}

/** An interface of the host's. */
export interface TapNetworkOptions {
  /** Which network. */
  readonly kind: "tap";
  /** The interface's name. */
  readonly ifname: string;
}

/** A port of the host's (on 127.0.0.1) that leads to one of the guest's. */
export interface HostForward {
  /** Of both ports. */
  readonly protocol: "tcp" | "udp";
  /** 1-65535. */
  readonly hostPort: number;
  /** 1-65535. */
  readonly guestPort: number;
}

/** The host's own network, as any program of the user's has it. */
export interface UserNetworkOptions {
  /** Which network. */
  readonly kind: "user";
  /** Connections into the guest. */
  readonly hostForwards?: readonly HostForward[];
  /** The guest reaches nothing; only forwarded ports reach the guest. Default false. */
  readonly restrict?: boolean;
}

/** Any of them. */
export type NetworkOptions = SocketNetworkOptions | TapNetworkOptions | UserNetworkOptions;
