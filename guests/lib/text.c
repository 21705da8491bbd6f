// Memory, numbers and command lines. Every loop here is as short as it can be: an instruction may cost a microsecond.
#include "guest.h"

void *memcpy(void *to, const void *from, size_t size) {
  void *next = to;
  asm volatile("rep movsb" : "+D"(next), "+S"(from), "+c"(size) : : "memory");
  return to;
}

void *memset(void *to, int byte, size_t size) {
  void *next = to;
  asm volatile("rep stosb" : "+D"(next), "+c"(size) : "a"(byte) : "memory");
  return to;
}

bool equal(const void *one, const void *other, size_t size) {
  const uint8_t *a = one, *b = other;
  for (size_t i = 0; i < size; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

size_t length(const char *text) {
  size_t count = 0;
  while (text[count]) count++;
  return count;
}

uint64_t number(const char *text) {
  uint64_t value = 0;
  if (text[0] == '0' && (text[1] | 0x20) == 'x') {
    for (text += 2;; text++) {
      char lower = *text | 0x20;
      if (*text >= '0' && *text <= '9') value = value << 4 | (uint64_t)(*text - '0');
      else if (lower >= 'a' && lower <= 'f') value = value << 4 | (uint64_t)(lower - 'a' + 10);
      else return value;
    }
  }
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
  return value;
}

static bool ends_word(char character) { return character == ' ' || character == 0; }

const char *find_option(const char *command_line, const char *name) {
  size_t size = length(name);
  while (*command_line) {
    const char *after = command_line;
    while (after < command_line + size && *after == name[after - command_line]) after++;
    if (after == command_line + size) {
      if (*after == '=') return after + 1;
      if (ends_word(*after)) return "";
    }
    while (!ends_word(*command_line)) command_line++;
    while (*command_line == ' ') command_line++;
  }
  return NULL;
}

bool is_word(const char *value, const char *word) {
  size_t size = length(word);
  for (size_t i = 0; i < size; i++) {
    if (value[i] != word[i]) return false;
  }
  return ends_word(value[size]);
}

uint32_t word_sum(const void *bytes, size_t size) {
  const uint32_t *words = bytes;
  uint32_t sum = 0, last = 0;
#pragma GCC unroll 8
  for (size_t i = 0; i < size / 4; i++) sum += words[i];
  memcpy(&last, words + size / 4, size % 4);
  return sum + last;
}

#ifdef __x86_64__

// Knuth's linear congruential generator (MMIX), its better half folded onto the other.
uint64_t pseudo_random(void) {
  static uint64_t state;
  state = state * 6364136223846793005 + 1442695040888963407;
  return state ^ state >> 32;
}

const char *command_line(void) {
  return start_info->command_line ? (const char *)start_info->command_line : "";
}

const char *option(const char *name) { return find_option(command_line(), name); }

uint64_t number_option(const char *name, uint64_t otherwise) {
  const char *value = option(name);
  return value ? number(value) : otherwise;
}

#endif
