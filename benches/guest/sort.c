// Sorts random words: quicksort with the median of three, insertion sort for short pieces. Branches hard to predict.
#include "bench.h"

enum { COUNT = 50000, SHORT = 12 };

static uint32_t items[COUNT];

static void swap(uint32_t *a, uint32_t *b) {
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

static void insertion_sort(uint32_t *a, long n) {
    for (long i = 1; i < n; i++) {
        uint32_t x = a[i];
        long j = i;
        for (; j > 0 && a[j - 1] > x; j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

static void quicksort(uint32_t *a, long n) {
    while (n > SHORT) {
        if (a[n / 2] < a[0])
            swap(&a[n / 2], &a[0]);
        if (a[n - 1] < a[0])
            swap(&a[n - 1], &a[0]);
        if (a[n - 1] < a[n / 2])
            swap(&a[n - 1], &a[n / 2]);
        uint32_t pivot = a[n / 2];
        long i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j)
                swap(&a[i++], &a[j--]);
        }
        // The shorter side by recursion, the longer one by going on.
        if (j + 1 < n - i) {
            quicksort(a, j + 1);
            a += i;
            n -= i;
        } else {
            quicksort(a + i, n - i);
            n = j + 1;
        }
    }
    insertion_sort(a, n);
}

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0, state = 1;
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < COUNT; i++)
            items[i] = random_next(&state) >> 32;
        quicksort(items, COUNT);
        for (int i = 0; i < COUNT; i += 97)
            sum = mix(sum, items[i]);
    }
    return sum;
}
