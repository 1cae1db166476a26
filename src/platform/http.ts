/**
 * HTTP as far as the etcd coordinator needs it: part of the seam to the machine, but of none of its simulations.
 */
import type { MachineError } from './platform.ts';

export interface HttpReply {
  readonly status: number;
  readonly text: string;
}

export interface HttpTransport {
  /** Posts JSON. Rejects with MachineError when there is no whole answer in time. */
  post(url: string, json: string, timeoutMs: number): Promise<HttpReply>;
  /**
   * Posts JSON and delivers the answer line by line as it arrives. `onEnd` is called once: with the status, or with the reason why
   * there was no orderly end. The result cuts the answer off; then nothing is called any more.
   */
  stream(
    url: string,
    json: string,
    onLine: (line: string) => void,
    onEnd: (end: number | MachineError) => void,
  ): () => void;
  close(): void;
}
