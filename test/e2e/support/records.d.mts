export declare function recordBytes(file: number, record: number): Buffer;
