/** The databases of a simulated machine as one process of it uses them: each a thing of its own in the tree of names. */
import { dirname } from 'node:path/posix';
import { type Database, type Databases, MachineError } from '../../platform/platform.ts';
import type { DiskSpace } from './disk-space.ts';
import type { Names } from './names.ts';
import type { Operations } from './operations.ts';
import { SimulatedLevel } from './simulated-level.ts';
import { StoredDatabase } from './stored-database.ts';

export class ProcessDatabases implements Databases {
  readonly #operations: Operations;
  readonly #names: Names;
  readonly #space: DiskSpace;

  constructor(operations: Operations, names: Names, space: DiskSpace) {
    this.#operations = operations;
    this.#names = names;
    this.#space = space;
  }

  async open(path: string): Promise<Database> {
    const stored = (): StoredDatabase => this.#findOrMake(path);
    const database = new SimulatedLevel({ path, operations: this.#operations, stored });
    try {
      await database.open();
    } catch (error) {
      throw error instanceof Error && error.cause instanceof MachineError ? error.cause : error;
    }
    return database;
  }

  destroy(path: string): Promise<void> {
    const { device } = this.#operations;
    return this.#operations.run({
      latencyMs: device.delayMs(device.latency.namesMs),
      perform: () => this.#names.remove(path, `remove database ${path}`),
    });
  }

  /** LevelDB syncs what it begins a database with, and a journaling file system puts everything before into the same commit. */
  #findOrMake(path: string): StoredDatabase {
    const what = `open database ${path}`;
    const found = this.#names.find(path);
    if (found?.kind === 'database') return found;
    if (found?.kind === 'file' || (found?.kind === 'directory' && found.entries.size > 0))
      throw new MachineError('EIO', `${what}: something else is in the way`);
    if (found === undefined) this.#names.makeDirectory(dirname(path), what);
    else this.#names.remove(path, what);
    const { device } = this.#operations;
    const database = new StoredDatabase({
      space: this.#space,
      dice: device.dice,
      nowMs: () => device.world.scheduler.nowMs,
      tableMs: () => device.delayMs(device.latency.tableMs),
    });
    this.#names.add(path, database, what);
    this.#names.syncAll();
    return database;
  }
}
