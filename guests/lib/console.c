// Text output on COM1, a 16550A.
#include "guest.h"

enum {
  TRANSMIT = COM1,
  INTERRUPT_ENABLE = COM1 + 1,
  FIFO_CONTROL = COM1 + 2,
  LINE_CONTROL = COM1 + 3,
  LINE_STATUS = COM1 + 5,
  FIFO_ON_AND_CLEARED = 0x07,
  EIGHT_BITS_NO_PARITY = 0x03,
  TRANSMITTER_EMPTY = 0x20,
  FIFO_BYTES = 16,
};

// How many bytes surely fit. With the FIFO on, an empty transmitter takes 16 bytes, so the status is read once for 16
// of them: every access to a port is an exit.
static unsigned room;
static bool ready;

void put(char character) {
  if (!ready) {
    out8(INTERRUPT_ENABLE, 0);
    out8(LINE_CONTROL, EIGHT_BITS_NO_PARITY);
    out8(FIFO_CONTROL, FIFO_ON_AND_CLEARED);
    ready = true;
  }
  if (room == 0) {
    while (!(in8(LINE_STATUS) & TRANSMITTER_EMPTY)) pause();
    room = FIFO_BYTES;
  }
  out8(TRANSMIT, (uint8_t)character);
  room--;
}

static void put_number(unsigned long value, unsigned base, unsigned width) {
  char digits[24];
  unsigned count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (width > count) {
    put('0');
    width--;
  }
  while (count > 0) put(digits[--count]);
}

static void put_string(const char *text) {
  while (*text) put(*text++);
}

void print_arguments(const char *format, va_list arguments) {
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    unsigned width = 0;
    bool is_long = false;
    for (format++; *format >= '0' && *format <= '9'; format++) width = width * 10 + (unsigned)(*format - '0');
    if (*format == 'l') {
      is_long = true;
      format++;
    }
    switch (*format) {
      case 's': put_string(va_arg(arguments, const char *)); break;
      case 'c': put((char)va_arg(arguments, int)); break;
      case 'u':
      case 'x': {
        unsigned long value = is_long ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
        put_number(value, *format == 'u' ? 10 : 16, width);
        break;
      }
      default: put(*format);
    }
  }
}

void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_arguments(format, arguments);
  va_end(arguments);
}

void print_text(const void *bytes, size_t size) {
  const char *text = bytes;
  for (size_t i = 0; i < size; i++) put(text[i] >= ' ' && text[i] <= '~' ? text[i] : '.');
}
