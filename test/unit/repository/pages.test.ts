import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const markdownOf = (folder: string): string[] =>
  readdirSync(join(root, folder)).filter((name) => name.endsWith('.md') && name !== 'README.md');
const pages = [
  'README.md',
  ...['docs', 'docs/decisions', 'docs/format'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  ),
];

describe('the pages', () => {
  test.each(['docs/decisions', 'docs/format'])('in %s are all listed in its index', (folder) => {
    const index = readFileSync(join(root, folder, 'README.md'), 'utf8');
    expect(markdownOf(folder).filter((name) => !index.includes(`](${name})`))).toEqual([]);
  });

  test.each(pages)('%s links to nothing that is not there', (page) => {
    const links = readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g);
    const targets = [...links].map(([, target = '']) => target).filter((target) => !/^https?:/.test(target));
    expect(targets.filter((target) => !existsSync(join(root, dirname(page), target)))).toEqual([]);
  });
});
