/**
 * Where the package lies: the nearest directory above this module that has a package.json. Modules run from their sources, from what was
 * compiled of each, and from bundles of them, at different depths; what lies beside them is found from here.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert } from '../base/assert.ts';

function find(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    if (existsSync(join(at, 'package.json'))) return at;
    assert(at !== dirname(at), 'a module lies in a package');
  }
}

export const packageDirectory = find();
