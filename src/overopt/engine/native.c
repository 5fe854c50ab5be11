/* What torch makes of many small pieces: rotary embedding, and attention while sampling. */
#include <math.h>
#include <string.h>

/* In place (a, b) -> (a cos - b sin, b cos + a sin) for the first 2 half numbers of each query and key,
 * in [rows, heads, (query, key, value), size] with cos and sin [rows, half]. */
void rotate(float *qkv, const float *cosine, const float *sine, long rows, long heads, long size, long half)
{
    for (long n = 0; n < rows; n++, cosine += half, sine += half)
        for (long h = 0; h < heads; h++, qkv += 3 * size)
            for (long part = 0; part < 2; part++) {
                float *a = qkv + part * size, *b = a + half;
                for (long i = 0; i < half; i++) {
                    float first = a[i], second = b[i];
                    a[i] = first * cosine[i] - second * sine[i];
                    b[i] = second * cosine[i] + first * sine[i];
                }
            }
}

/* score[j] = query . keys[:, j], for keys [size, stride] of which `count` columns are there */
static void products(float *restrict score, const float *query, const float *keys, long size, long stride, long count,
                     float scale)
{
    long d = 0;
    memset(score, 0, count * sizeof(float));
    for (; d + 4 <= size; d += 4) {
        const float *k0 = keys + d * stride, *k1 = k0 + stride, *k2 = k1 + stride, *k3 = k2 + stride;
        float q0 = query[d] * scale, q1 = query[d + 1] * scale, q2 = query[d + 2] * scale, q3 = query[d + 3] * scale;
        for (long j = 0; j < count; j++)
            score[j] += q0 * k0[j] + q1 * k1[j] + q2 * k2[j] + q3 * k3[j];
    }
    for (; d < size; d++)
        for (long j = 0; j < count; j++)
            score[j] += query[d] * scale * keys[d * stride + j];
}

/* out += weights . values, for values [count, size] */
static void mix(float *restrict out, const float *weights, const float *values, long size, long count)
{
    for (long j = 0; j < count; j++)
        for (long d = 0; d < size; d++)
            out[d] += weights[j] * values[j * size + d];
}

/* In place exp(score - max); the sum is returned. */
static float exponentials(float *score, long count)
{
    float most = score[0], total = 0;
    for (long j = 1; j < count; j++)
        most = score[j] > most ? score[j] : most;
    for (long j = 0; j < count; j++) {
        score[j] = expf(score[j] - most);
        total += score[j];
    }
    return total;
}

/* One token of each active sample looks at its prompt and at what it has drawn so far.
 *
 * Keys lie transposed, so that the loops over places run side by side in vector registers. The key and the value of the
 * token are stored first. Rows come in the order of their slots; slot / group is the prompt.
 */
void decode_attention(
    const float *query, long query_row, long query_head,               /* [active, heads, size], by strides */
    const float *key, long key_row, long key_head,                     /* [active, key_heads, size] */
    const float *value, long value_row, long value_head,               /* the same */
    const float *prompt_keys, const float *prompt_values,              /* [P, key_heads, size, prompt], [.., prompt, size] */
    float *own_keys, float *own_values,                                /* [P group, key_heads, size, width], [.., width, size] */
    const long long *slots, const long long *lengths,                  /* [active], [P] */
    float *out, float *score,                                          /* [active, heads, size], room for prompt + width */
    long active, long group, long heads, long key_heads, long size, long prompt, long width, long step, float scale)
{
    long shared = heads / key_heads, own = step + 1;
    for (long first = 0, next; first < active; first = next) {
        long p = slots[first] / group, length = lengths[p];
        for (next = first; next < active && slots[next] / group == p; next++)
            ;
        for (long g = 0; g < key_heads; g++) {
            const float *pk = prompt_keys + (p * key_heads + g) * size * prompt;
            const float *pv = prompt_values + (p * key_heads + g) * size * prompt;
            for (long a = first; a < next; a++) { /* the prompt's part stays in the cache for all of its samples */
                float *ok = own_keys + (slots[a] * key_heads + g) * size * width;
                float *ov = own_values + (slots[a] * key_heads + g) * size * width;
                for (long d = 0; d < size; d++)
                    ok[d * width + step] = key[a * key_row + g * key_head + d];
                memcpy(ov + step * size, value + a * value_row + g * value_head, size * sizeof(float));
                for (long h = g * shared; h < (g + 1) * shared; h++) {
                    const float *q = query + a * query_row + h * query_head;
                    float *o = out + (a * heads + h) * size;
                    products(score, q, pk, size, prompt, length, scale);
                    products(score + length, q, ok, size, width, own, scale);
                    float total = exponentials(score, length + own);
                    memset(o, 0, size * sizeof(float));
                    mix(o, score, pv, size, length);
                    mix(o, score + length, ov, size, own);
                    for (long d = 0; d < size; d++)
                        o[d] /= total;
                }
            }
        }
    }
}
