/**
 * Deliberate defects: each breaks one promise, so that a test can show that the simulator notices. None of them leaves anything in production
 * code: a process's platform is wrapped, or a method of a class is replaced for the time of a run.
 */
import type { Volume } from '../../filesystem/volume.ts';
import type { SimulatedProcess, World } from '../contract.ts';

export interface Defect {
  readonly name: string;
  readonly about: string;
  /** Changes a process before its program runs. */
  alter?(process: SimulatedProcess): SimulatedProcess;
  /** Called when a mount begins to serve. */
  onMounted?(volume: Volume, world: World): void;
  /** Replaces methods; the result puts them back. Not for runs side by side. */
  patch?(): () => void;
}

/** Replaces a method or an accessor until the result is called. */
export function replaceMethod<Owner extends object, Name extends keyof Owner>(
  prototype: Owner,
  name: Name,
  make: (original: Owner[Name]) => Owner[Name],
): () => void {
  const original = prototype[name];
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
  Object.defineProperty(prototype, name, { value: make(original), configurable: true, writable: true });
  return () => {
    if (descriptor === undefined) Reflect.deleteProperty(prototype, name);
    else Object.defineProperty(prototype, name, descriptor);
  };
}
