// The mixture that small processors are measured with: a linked list that is searched and sorted, a small matrix, a state
// machine over text, and a CRC over all results.
#include "bench.h"

enum { NODES = 200, SIDE = 12, TEXT = 512 };

struct node {
    struct node *next;
    int16_t key, data;
};

static struct node nodes[NODES];
static int16_t left[SIDE][SIDE], right[SIDE][SIDE];
static char text[TEXT];

// CRC-16 with the polynomial x^16 + x^15 + x^2 + 1, bit by bit.
static uint16_t crc16(uint16_t crc, uint16_t value) {
    crc ^= value;
    for (int i = 0; i < 16; i++)
        crc = crc >> 1 ^ (crc & 1 ? 0xa001 : 0);
    return crc;
}

static struct node *reverse(struct node *list) {
    struct node *done = 0;
    while (list) {
        struct node *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static struct node *merge_sort(struct node *list) {
    if (!list || !list->next)
        return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next)
        slow = slow->next, fast = fast->next->next;
    struct node *a = list, *b = slow->next, *head, **tail = &head;
    slow->next = 0;
    a = merge_sort(a);
    b = merge_sort(b);
    while (a && b) {
        struct node **least = a->key <= b->key ? &a : &b;
        *tail = *least;
        tail = &(*least)->next;
        *least = (*least)->next;
    }
    *tail = a ? a : b;
    return head;
}

static uint16_t lists(uint16_t crc, uint64_t *state) {
    for (int i = 0; i < NODES; i++) {
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : 0;
        nodes[i].key = random_next(state) % 1000;
        nodes[i].data = i;
    }
    struct node *list = reverse(nodes);
    for (int wanted = 0; wanted < 1000; wanted += 50)
        for (const struct node *n = list; n; n = n->next)
            if (n->key == wanted) {
                crc = crc16(crc, n->data);
                break;
            }
    for (const struct node *n = merge_sort(list); n; n = n->next)
        crc = crc16(crc, n->data);
    return crc;
}

static uint16_t matrices(uint16_t crc, uint64_t *state) {
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            left[i][j] = random_next(state), right[i][j] = random_next(state);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t dot = 0;
            for (int k = 0; k < SIDE; k++)
                dot += (left[i][k] >> 2) * (right[k][j] & 0xff);
            crc = crc16(crc, dot >> 4);
        }
    return crc;
}

// Which kind of number a word is, if it is one.
static uint16_t states(uint16_t crc, uint64_t *state) {
    static const char letters[] = "0123456789+-.e,,,x";
    for (int i = 0; i < TEXT; i++)
        text[i] = letters[random_next(state) % (sizeof letters - 1)];
    enum { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, POWER, INVALID, STATES } now = START;
    uint16_t seen[STATES] = {0};
    for (int i = 0; i < TEXT; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9';
        if (c == ',') {
            seen[now]++;
            now = START;
            continue;
        }
        switch (now) {
        case START:
            now = digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? POINT : INVALID;
            break;
        case SIGN:
            now = digit ? INTEGER : c == '.' ? POINT : INVALID;
            break;
        case INTEGER:
            now = digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
            break;
        case POINT:
            now = digit ? FRACTION : INVALID;
            break;
        case FRACTION:
            now = digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
            break;
        case EXPONENT:
            now = digit || c == '-' ? POWER : INVALID;
            break;
        case POWER:
            now = digit ? POWER : INVALID;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc, seen[i]);
    return crc;
}

static uint64_t work(uint64_t repeats) {
    uint64_t state = 11;
    uint16_t crc = 0xffff;
    for (uint64_t r = 0; r < repeats; r++) {
        crc = lists(crc, &state);
        crc = matrices(crc, &state);
        crc = states(crc, &state);
    }
    return mix(state, crc);
}
