import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  type Acl,
  decodeAcl,
  encodeAcl,
  inherited,
  isMinimal,
  modeOf,
  withMode,
} from '../../../src/fuse/acl.ts';

const minimal: Acl = [
  { tag: 1, permissions: 6, id: 0xffffffff },
  { tag: 4, permissions: 4, id: 0xffffffff },
  { tag: 32, permissions: 0, id: 0xffffffff },
];
const extended: Acl = [
  { tag: 1, permissions: 7, id: 0xffffffff },
  { tag: 2, permissions: 7, id: 1234 },
  { tag: 4, permissions: 5, id: 0xffffffff },
  { tag: 16, permissions: 7, id: 0xffffffff },
  { tag: 32, permissions: 1, id: 0xffffffff },
];

it('decodes what it encodes, and refuses other lengths and versions', () => {
  expect(decodeAcl(encodeAcl(extended))).toEqual(extended);
  expect(Buffer.from(encodeAcl(minimal)).toString('hex')).toBe(
    '02000000' + '01000600ffffffff' + '04000400ffffffff' + '20000000ffffffff',
  );
  expect(() => decodeAcl(encodeAcl(extended).subarray(0, 11))).toThrow('EINVAL');
  expect(() => decodeAcl(Uint8Array.of(1, 0, 0, 0))).toThrow('EOPNOTSUPP');
});

it('lets the mask stand for the group in the mode', () => {
  expect(modeOf(minimal, 0o100777).toString(8)).toBe('100640');
  expect(modeOf(extended, 0o102000).toString(8)).toBe('102771');
  expect([isMinimal(minimal), isMinimal(extended)]).toEqual([true, false]);
});

it('changes the mask, and not the group, at chmod', () => {
  const changed = withMode(extended, 0o640);
  expect(changed.map(({ permissions }) => permissions)).toEqual([6, 7, 5, 4, 0]);
  expect(modeOf(changed, 0)).toBe(0o640);
});

it('gives a new inode no more than the default list and the asked mode both allow', () => {
  expect(inherited(extended, 0o100640)).toMatchObject({ mode: 0o100640 });
  expect(inherited(extended, 0o100666).mode).toBe(0o100660);
  fc.assert(
    fc.property(fc.nat(0o777), (mode) => {
      const result = inherited(extended, mode);
      expect(result.mode & ~mode).toBe(0);
      expect(modeOf(result.access, mode)).toBe(result.mode);
    }),
  );
});
