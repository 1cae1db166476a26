/** The model with other timing: front ends have to serve file systems that answer now, later or never. */
import type { FileSystem } from '../../src/filesystem/file-system.ts';
import type { MemoryFileSystem } from '../../src/simulator/model/memory-file-system.ts';

/** What the interface wants answered in the same turn. */
const IMMEDIATE = new Set<PropertyKey>(['forget', 'writeLanding', 'whenWritable', 'constructor']);

/** Every operation takes effect at once and says so in a later turn. */
export function deferred(model: MemoryFileSystem): FileSystem {
  return new Proxy(model as FileSystem, {
    get(_, property) {
      const method = Reflect.get(model, property) as (...args: unknown[]) => unknown;
      if (typeof method !== 'function') return method;
      const bound = method.bind(model);
      if (IMMEDIATE.has(property)) return bound;
      return (...args: unknown[]) => {
        const result = new Promise((resolve) => resolve(bound(...args)));
        const settled = Promise.allSettled([result]);
        return new Promise((resolve) => setImmediate(() => resolve(settled.then(() => result))));
      };
    },
  });
}

/** Reads of files that were created with the name 'hang', and looking 'stuck' up, wait for ever. */
export function hanging(model: MemoryFileSystem): FileSystem {
  const stuck = new Set<number>();
  return new Proxy(model as FileSystem, {
    get(_, property) {
      if (property === 'create')
        return (...args: Parameters<MemoryFileSystem['create']>) => {
          const created = model.create(...args);
          if (args[1] === 'hang') stuck.add(created.attributes.inode);
          return created;
        };
      if (property === 'lookup')
        return (...args: Parameters<MemoryFileSystem['lookup']>) =>
          args[1] === 'stuck' ? new Promise(() => undefined) : model.lookup(...args);
      if (property === 'read')
        return (...args: Parameters<MemoryFileSystem['read']>) =>
          stuck.has(args[0]) ? new Promise(() => undefined) : model.read(...args);
      const method = Reflect.get(model, property) as unknown;
      return typeof method === 'function' ? method.bind(model) : method;
    },
  });
}
