/** Random numbers of the machine, good enough for keys and nonces. */
import { randomBytes, randomInt } from 'node:crypto';
import { assert } from '../../base/assert.ts';
import type { RandomSource } from '../platform.ts';

export const realRandom: RandomSource = {
  bytes: (lengthBytes) => randomBytes(lengthBytes),
  below(bound) {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= 2 ** 32, `bound ${bound}`);
    return randomInt(bound);
  },
};
