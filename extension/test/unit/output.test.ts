import { describe, expect, it } from 'vitest';

import { unreachable } from '../../src/environment/causes';
import { doctorProblem, pipStep } from '../../src/environment/output';
import { t } from '../../src/l10n';

describe('the output of pip and doctor', () => {
  it('passes on what doctor finds', () => {
    const check = { check: 'model', level: 'fail', found: 'its files are damaged', fix: 'Reinstall it.' };
    const other = { check: 'meters', level: 'warn', found: 'no rapl', fix: '' };
    expect(doctorProblem(JSON.stringify({ ok: false, checks: [other, check] }))).toBe('model: its files are damaged. Reinstall it.');
    expect(doctorProblem('{"ok": true, "checks": []}')).toBeNull();
    expect(doctorProblem('Traceback')).toBeNull();
  });

  it.each([
    ['NewConnectionError("HTTPConnection(host=\'127.0.0.1\', port=9): Failed to establish a new connection: [Errno 111] Connection refused")', 'Connection refused'],
    ["SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1007)'))", 'certificate verify failed: unable to get local issuer certificate'],
    ['ReadTimeoutError("HTTPSConnectionPool(host=\'pypi.org\', port=443): Read timed out. (read timeout=15)")', 'ReadTimeoutError'],
  ])('finds the cause of an unreachable index in %s', (exception, cause) => {
    const output = `WARNING: Retrying (Retry(total=1)) after connection broken by '${exception}': /simple/numpy/`;
    expect(unreachable(output, 'ERROR: No matching distribution found for numpy')).toContain(`(${cause})`);
    expect(unreachable(output, 'ERROR: ResolutionImpossible')).toBeNull(); // the index was reached after a retry
  });

  it('shows the steps of pip', () => {
    expect(pipStep('  Downloading torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)')).toBe(t('setUp.downloading', { name: 'torch', size: '887.9 MB' }));
    expect(pipStep('Collecting msgpack<2,>=1.1 (from green-code)')).toBe(t('setUp.collecting', { name: 'msgpack' }));
    expect(pipStep('WARNING: Retrying (Retry(total=4)) after')).toBe(t('setUp.retrying'));
    expect(pipStep('Requirement already satisfied: numpy')).toBeNull();
  });
});
