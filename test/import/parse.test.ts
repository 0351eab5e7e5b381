/** The parsers as tables and properties: what is kept, what is refused and with which code. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCloudtrailRecord } from '../../src/import/cloudtrail.ts';
import { parseCsvLine } from '../../src/import/csv.ts';
import { parseTransaction } from '../../src/import/ethereum.ts';
import { externalEventId } from '../../src/import/external-id.ts';
import { integerText, type JsonObject, jsonText, parseRecord } from '../../src/import/json-text.ts';
import { parseNdjsonEvent } from '../../src/import/ndjson.ts';
import { readPieces } from '../../src/import/piece.ts';
import { MAX_RECORD_BYTES, type Piece } from '../../src/import/record-buffer.ts';
import { RecordRejected } from '../../src/import/rejection.ts';
import { toInstant } from '../../src/time/clock.ts';
import { uuidV5 } from '../../src/uuid-v5.ts';

const now = toInstant(Date.UTC(2026, 2, 15));

/** `OK`, or the reason and field of the rejection. Any other error fails the test. */
function verdict(parse: () => unknown): string {
  try {
    parse();
    return 'OK';
  } catch (error) {
    if (!(error instanceof RecordRejected)) throw error;
    return error.field === null ? error.reason : `${error.reason} ${error.field}`;
  }
}

describe('JSON records', () => {
  test.each([
    ['{"value": 115792089237316195423570985008687907853269984665640564039457584007913129639935}'],
    ['{"value": 9007199254740993}'],
    ['{"a":[1.10,-0.000,1e2,12345678901234567890.5]}'],
  ])('numbers keep every digit: %s', (text) => {
    expect(jsonText(parseRecord(text))).toBe(text.replaceAll(': ', ':'));
  });

  test('integers are given exactly, whatever their form', () => {
    const record = parseRecord('{"n": 9007199254740993, "small": 7, "text": "12", "half": 1.5, "exp": 1e18}');
    expect(['n', 'small', 'text', 'half', 'exp'].map((key) => integerText(record[key]))).toEqual([
      '9007199254740993',
      '7',
      '12',
      null,
      null,
    ]);
  });

  test.each([
    ['[1]', 'JSON_INVALID'],
    ['12345678901234567890', 'JSON_INVALID'],
    ['"text"', 'JSON_INVALID'],
    ['{"a":', 'JSON_INVALID'],
    ['{"a":"\u0001"}', 'JSON_INVALID'],
    ['{"a":"x\\u0000y"}', 'TEXT_NUL'],
    ['{"x\\u0000":1}', 'TEXT_NUL'],
    ['{"a":"\\ud800"}', 'TEXT_SURROGATE'],
    ['{"a":["\\uDC00x"]}', 'TEXT_SURROGATE'],
    ['{"a":"\\\\u0000 is six characters, \\ud83d\\ude00 is one"}', 'OK'],
    [`{"a":1e${'9'.repeat(5)}}`, 'NUMBER_RANGE'],
    [`{"a":${'9'.repeat(1001)}}`, 'NUMBER_RANGE'],
    [`{"a":${'['.repeat(63)}${']'.repeat(63)}}`, 'OK'],
    [`{"a":${'['.repeat(64)}${']'.repeat(64)}}`, 'JSON_TOO_DEEP'],
    [`{"a":"${'['.repeat(100)}\\"${'{'.repeat(100)}"}`, 'OK'],
    ['['.repeat(1_000_000), 'JSON_TOO_DEEP'],
  ])('%#: %s', (text, expected) => {
    expect(verdict(() => parseRecord(text))).toBe(expected);
  });

  test('property: whatever JSON can say survives, and no text crashes the parser', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 8 })), (value) => {
        const text = JSON.stringify(value);
        if (/\\u0000|\\ud[89a-f]/i.test(text)) return;
        expect(JSON.parse(jsonText(parseRecord(text)) ?? '')).toEqual(JSON.parse(text));
      }),
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => verdict(() => parseRecord(text)).length > 0));
  });
});

const event = {
  id: '11111111-2222-4333-8444-555555555555',
  event_timestamp: '2024-05-06T07:08:09.123456Z',
  event_type: 'user.session',
  event_category: 'authentication',
  event_action: 'LOGIN',
};
const ndjson = (change: JsonObject) => verdict(() => parseNdjsonEvent({ ...event, ...change }, now));

describe('NDJSON events', () => {
  test.each<[JsonObject, string]>([
    [{}, 'OK'],
    [{ id: undefined }, 'FIELD_MISSING id'],
    [{ id: undefined, external_id: 'A-1' }, 'OK'],
    [{ id: 'A-1' }, 'FIELD_INVALID id'],
    [{ event_type: undefined }, 'FIELD_MISSING event_type'],
    [{ event_category: 'other' }, 'FIELD_INVALID event_category'],
    [{ event_action: 'a'.repeat(65) }, 'FIELD_INVALID event_action'],
    [{ event_action: 'ann@example.com' }, 'FIELD_INVALID event_action'],
    [{ event_type: 'arn:aws:iam::1:user/ann' }, 'FIELD_INVALID event_type'],
    [{ server_name: '10.1.2.3' }, 'FIELD_INVALID server_name'],
    [{ version: '10.1.2.3' }, 'FIELD_INVALID version'],
    [{ service_name: 'account-123456789' }, 'FIELD_INVALID service_name'],
    [{ user_email: 'x'.repeat(257) }, 'FIELD_TOO_LONG user_email'],
    [{ user_email: '😀'.repeat(256) }, 'OK'],
    [{ resource_path: 'x'.repeat(513) }, 'FIELD_TOO_LONG resource_path'],
    [{ ip_address: '10.0.0.256' }, 'FIELD_INVALID ip_address'],
    [{ ip_address: 'fe80::1%eth0' }, 'FIELD_INVALID ip_address'],
    [{ ip_address: '2001:db8::1' }, 'OK'],
    [{ data_sensitivity: 'secret' }, 'FIELD_INVALID data_sensitivity'],
    [{ event_hash: 'x' }, 'FIELD_UNKNOWN'],
    [{ event_timestamp: '2024-02-30T00:00:00Z' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '2024-05-06T07:08:09' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '0000-12-31T23:59:59Z' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '0001-01-01T00:00:00+14:00' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '0001-01-01T00:00:00Z' }, 'OK'],
    [{ event_timestamp: '+10000-01-01T00:00:00Z' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '9999-12-31T23:59:59.9999999Z' }, 'TIME_FUTURE event_timestamp'],
    [{ event_timestamp: '9999-12-31T23:59:59-14:00' }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: 1_700_000_000 }, 'TIME_INVALID event_timestamp'],
    [{ event_timestamp: '2026-03-17T00:00:00Z' }, 'TIME_FUTURE event_timestamp'],
  ])('%j: %s', (change, expected) => {
    const kept = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
    const removed = Object.keys(change).filter((key) => change[key] === undefined);
    const record: JsonObject = Object.fromEntries(
      Object.entries({ ...event, ...kept }).filter(([key]) => !removed.includes(key)),
    );
    expect(verdict(() => parseNdjsonEvent(record, now))).toBe(expected);
  });

  test('microseconds, zones and finer digits', () => {
    const time = (text: string) => parseNdjsonEvent({ ...event, event_timestamp: text }, now).bare.eventTimestamp;
    expect(time('2024-05-06T07:08:09.1234569Z')).toBe('2024-05-06T07:08:09.123456Z');
    expect(time('2024-05-06T07:08:09.1+02:00')).toBe('2024-05-06T05:08:09.100000Z');
  });

  test('property: no record crashes it', () => {
    const keys = fc.constantFrom(...Object.keys(event), 'user_roles', 'ip_address', 'old_values', 'x');
    fc.assert(fc.property(fc.dictionary(keys, fc.jsonValue()), (record) => ndjson(record as JsonObject).length > 0));
  });
});

describe('CloudTrail records', () => {
  const record = {
    eventID: '293ba626-3be5-4a26-ab1b-0f4c54f49959',
    eventTime: '2023-07-10T11:42:36Z',
    eventName: 'ConsoleLogin',
    eventSource: 'signin.amazonaws.com',
    eventType: 'AwsConsoleSignIn',
    userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::123456789012:user/ann' },
  };
  const cloudtrail = (change: JsonObject) => verdict(() => parseCloudtrailRecord({ ...record, ...change }, now));
  const parse = (change: JsonObject) => parseCloudtrailRecord({ ...record, ...change }, now);

  test.each<[JsonObject, string]>([
    [{}, 'OK'],
    [{ eventID: null }, 'FIELD_MISSING eventID'],
    [{ eventName: 'x'.repeat(65) }, 'FIELD_TOO_LONG eventName'],
    [{ eventName: 'arn:aws:x' }, 'FIELD_INVALID eventName'],
    [{ eventSource: 7 }, 'FIELD_INVALID eventSource'],
    [{ eventTime: 'yesterday' }, 'TIME_INVALID eventTime'],
    [{ userIdentity: null }, 'OK'],
    [{ userIdentity: 'x', resources: {}, responseElements: [] }, 'OK'],
  ])('%j: %s', (change, expected) => expect(cloudtrail(change)).toBe(expected));

  test('a failed console sign-in has no errorCode and is a failure', () => {
    expect(parse({ responseElements: { ConsoleLogin: 'Failure' } }).bare.result).toBe('failure');
    expect(parse({ responseElements: { ConsoleLogin: 'Success' } }).bare.result).toBe('success');
  });

  test('an id that is no UUID becomes the same UUIDv5 each time', () => {
    expect(parse({ eventID: 'E-1' }).bare.id).toBe(externalEventId('aws-cloudtrail', 'E-1'));
  });

  test('an ARN longer than the column stands whole among the roles', () => {
    const arn = `arn:aws:iam::123456789012:user/${'p'.repeat(400)}`;
    expect(parse({ userIdentity: { type: 'IAMUser', arn } }).actor).toMatchObject({
      userEmail: null,
      userRoles: ['IAMUser', arn],
    });
  });

  test('an address that is none and a request id that is no UUID are kept in additional_data', () => {
    const { actor, bare, payload } = parse({ sourceIPAddress: 'ec2.amazonaws.com', requestID: 'ABC' });
    expect([actor.ipAddress, bare.requestId]).toEqual([null, null]);
    expect(JSON.parse(payload.additionalData ?? '')).toEqual({
      sourceIPAddress: 'ec2.amazonaws.com',
      requestID: 'ABC',
    });
  });

  test('property: no record crashes it', () => {
    const keys = fc.constantFrom(
      ...Object.keys(record),
      'resources',
      'responseElements',
      'errorCode',
      'sourceIPAddress',
    );
    fc.assert(
      fc.property(fc.dictionary(keys, fc.jsonValue()), (change) => cloudtrail(change as JsonObject).length > 0),
    );
  });
});

describe('Ethereum transactions', () => {
  const transaction = {
    hash: `0x${'aB'.repeat(32)}`,
    block_hash: `0x${'01'.repeat(32)}`,
    block_number: '17173049',
    transaction_index: '3',
    from_address: `0x${'Ab'.repeat(20)}`,
    to_address: '',
    value: '32000000000000000001',
    gas: '21000',
    gas_price: '80869370967',
    input: '0xA9059CBB00',
    block_timestamp: '1683029999',
  };
  const parse = (change: JsonObject) => parseTransaction({ ...transaction, ...change }, now);

  test('hexadecimal in lower case, wei exact, signature, hash of the input bytes', () => {
    expect(parse({})).toMatchObject({
      hash: `0x${'ab'.repeat(32)}`,
      from: `0x${'ab'.repeat(20)}`,
      to: null,
      valueWei: '32000000000000000001',
      functionSignature: '0xa9059cbb',
      inputHash: 'e73a7e70eb2a39ce67b8598a2d282942ce9ad24625344b3fc5950c72410873c8',
      status: 'confirmed',
      time: { text: '2023-05-02T12:19:59.000000Z' },
    });
  });

  test.each<[JsonObject, string]>([
    [{ value: (2n ** 256n - 1n).toString() }, 'OK'],
    [{ value: (2n ** 256n).toString() }, 'NUMBER_RANGE value'],
    [{ value: '-1' }, 'NUMBER_RANGE value'],
    [{ value: '1e18' }, 'FIELD_INVALID value'],
    [{ value: 1e21 }, 'FIELD_INVALID value'],
    [{ gas: (2n ** 63n).toString() }, 'NUMBER_RANGE gas'],
    [{ gas_price: '' }, 'OK'],
    [{ transaction_index: '2147483648' }, 'NUMBER_RANGE transaction_index'],
    [{ from_address: '0x12' }, 'FIELD_INVALID from_address'],
    [{ hash: '' }, 'FIELD_MISSING hash'],
    [{ input: '0x123' }, 'FIELD_INVALID input'],
    [{ input: '0x' }, 'OK'],
    [{ block_timestamp: '99999999999999' }, 'TIME_INVALID block_timestamp'],
    [{ block_timestamp: '4102444800' }, 'TIME_FUTURE block_timestamp'],
    [{ block_timestamp: '2023-05-02 12:19:59 UTC' }, 'OK'],
    [{ receipt_status: '0' }, 'OK'],
    [{ receipt_status: '2' }, 'NUMBER_RANGE receipt_status'],
  ])('%j: %s', (change, expected) => expect(verdict(() => parse(change))).toBe(expected));

  test('a receipt tells failure and the gas that was used', () => {
    expect(parse({ receipt_status: '0', receipt_gas_used: '5' })).toMatchObject({ status: 'failed', gasUsed: 5n });
  });

  test('property: CSV fields come back, and no line crashes the parser', () => {
    const quote = (field: string) => `"${field.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
        expect(parseCsvLine(fields.map(quote).join(','))).toEqual(fields);
      }),
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (line) => verdict(() => parseCsvLine(line)).length > 0));
    expect(verdict(() => parseCsvLine('a"b,c'))).toBe('CSV_INVALID');
    expect(verdict(() => parseCsvLine('"a"b'))).toBe('CSV_INVALID');
    expect(verdict(() => parseCsvLine('"a'))).toBe('CSV_INVALID');
  });
});

test('UUIDv5 as RFC 9562 appendix A.4 has it', () => {
  const dns = Buffer.from('6ba7b8109dad11d180b400c04fd430c8', 'hex');
  expect(uuidV5(dns, 'www.example.com')).toBe('2ed6657d-e927-568b-95e1-2665a8aea6a2');
});

describe('cutting files into records', () => {
  async function cut(text: string | Buffer, sizes: readonly number[] = []): Promise<Piece[]> {
    const bytes = Buffer.from(text);
    async function* chunks() {
      let at = 0;
      for (const size of sizes) {
        yield await Promise.resolve(bytes.subarray(at, at + size));
        at += size;
      }
      yield bytes.subarray(at);
    }
    const pieces: Piece[] = [];
    for await (const some of readPieces(chunks())) pieces.push(...some);
    return pieces;
  }
  const texts = (pieces: readonly Piece[]) =>
    pieces.map((piece) =>
      piece.kind === 'record' ? `${piece.line}:${piece.bytes.toString().trim()}` : `${piece.line}:${piece.kind}`,
    );

  test.each([
    ['', []],
    ['{"a":1}\n\n{"b":2}\r\n{"c":3}', ['1:{"a":1}', '3:{"b":2}', '4:{"c":3}']],
    ['{"Records":[]}', []],
    ['{ "Records" : [\n{"a":"]}"},\n{"b":[1,2]}\n]\n}\n', ['2:{"a":"]}"}', '3:{"b":[1,2]}']],
    ['\ufeff{"Records":[{"a":"\\"},{"}]}', ['1:{"a":"\\"},{"}']],
    ['[{"a":1},{"b":2}]', ['1:{"a":1}', '1:{"b":2}']],
    ['{"Records":[{"a":1},{"b":', ['1:{"a":1}', '1:truncated']],
    ['{"Records":[{"a":1}', ['1:{"a":1}', '1:truncated']],
    ['{"Records":[{"a":1}}', ['1:{"a":1}', '1:truncated']],
    ['{"Records":[{"a":1}]}\n{"Records":[{"b":1}]}', ['1:{"a":1}', '1:trailing']],
  ])('%j', async (text, expected) => {
    expect(texts(await cut(text))).toEqual(expected);
  });

  test('property: where chunks are cut makes no difference', async () => {
    const records = Array.from({ length: 40 }, (_, i) => ({ n: i, text: `"{[\\,]}" ${'x'.repeat(i * 7)}` }));
    for (const text of [records.map((r) => JSON.stringify(r)).join('\n'), JSON.stringify({ Records: records })]) {
      const whole = texts(await cut(text));
      expect(whole).toHaveLength(40);
      await fc.assert(
        fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 20 }), async (sizes) => {
          expect(texts(await cut(text, sizes))).toEqual(whole);
        }),
        { numRuns: 50 },
      );
    }
  });

  test.each(['lines', 'elements'])('%s: a record beyond the limit is reported and the next one read', async (form) => {
    const long = `{"a":"${'x'.repeat(MAX_RECORD_BYTES)}"}`;
    const text = form === 'lines' ? `{"a":1}\n${long}\n{"b":2}` : `{"Records":[{"a":1},\n${long},\n{"b":2}]}`;
    expect(texts(await cut(text, [100_000, 1 << 20]))).toEqual(['1:{"a":1}', '2:too-long', '3:{"b":2}']);
  });
});
