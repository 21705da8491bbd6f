/** Numbers of virtio console devices (virtio 1.2, 5.3). Data and nothing else. */

/** Features, by the number of their bit. */
export const CONSOLE_FEATURE = { SIZE: 0, MULTIPORT: 1, EMERG_WRITE: 2 } as const;

/** struct virtio_console_config. */
export const CONSOLE_CONFIGURATION = { cols: 0, rows: 2, max_nr_ports: 4, emerg_wr: 8, bytes: 12 } as const;

/** The first port's queues, those of control messages, and where those of the other ports begin: a pair each. */
export const CONSOLE_QUEUE = { RECEIVE: 0, TRANSMIT: 1, CONTROL_RECEIVE: 2, CONTROL_TRANSMIT: 3, OTHERS: 4 } as const;

/** struct virtio_console_control. */
export const CONSOLE_CONTROL = { id: 0, event: 4, value: 6, bytes: 8 } as const;
export const CONSOLE_EVENT = {
  DEVICE_READY: 0,
  PORT_ADD: 1,
  PORT_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** What follows a control message of the event RESIZE. */
export const CONSOLE_RESIZE = { cols: 0, rows: 2, bytes: 4 } as const;
