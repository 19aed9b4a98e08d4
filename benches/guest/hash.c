// Counts keys in a hash table: FNV-1a over short strings, linear probing, comparison of strings.
#include "bench.h"

enum { SLOTS = 1 << 14, KEYS = 10000, KEY_BYTES = 16 };

static struct {
    char key[KEY_BYTES];
    uint64_t count;
} table[SLOTS];

static uint64_t fnv(const char *key) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *key; key++)
        hash = (hash ^ (uint8_t)*key) * 0x100000001b3u;
    return hash;
}

static int equal(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

// A key of 4 to 15 letters.
static void key_of(uint64_t number, char *key) {
    uint64_t state = number * 2 + 1;
    int len = 4 + random_next(&state) % 12;
    for (int i = 0; i < len; i++)
        key[i] = 'a' + (random_next(&state) >> 20) % 26;
    key[len] = 0;
}

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0, state = 7;
    memset(table, 0, sizeof table);
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < KEYS; i++) {
            char key[KEY_BYTES];
            key_of(random_next(&state) % KEYS, key);
            uint64_t slot = fnv(key) % SLOTS;
            while (table[slot].key[0] && !equal(table[slot].key, key))
                slot = (slot + 1) % SLOTS;
            if (!table[slot].key[0])
                memcpy(table[slot].key, key, KEY_BYTES);
            sum = mix(sum, slot + ++table[slot].count);
        }
    }
    return sum;
}
