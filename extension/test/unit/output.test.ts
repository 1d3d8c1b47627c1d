import { describe, expect, it } from 'vitest';

import { unreachable } from '../../src/environment/causes';
import { doctorProblem, PipOutput } from '../../src/environment/output';
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
    const pip = new PipOutput();
    expect(pip.step('Collecting msgpack<2,>=1.1 (from green-code)')).toEqual({ text: t('setUp.collecting', { name: 'msgpack' }), bytes: null });
    expect(pip.step('  Downloading torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)')).toEqual({ text: t('setUp.downloading', { name: 'torch' }), bytes: 887.9e6 });
    expect(pip.step('  Downloading msgpack-1.1.2-cp311-cp311-macosx_11_0_arm64.whl (85 kB)')?.bytes).toBeNull(); // over at once
    expect(pip.step('  Using cached sympy-1.14.0-py3-none-any.whl (112 MB)')?.bytes).toBe(112e6);
    expect(pip.step('WARNING: Retrying (Retry(total=4)) after')).toEqual({ text: t('setUp.retrying'), bytes: null });
    expect(pip.step('Requirement already satisfied: numpy')).toBeNull();
    const installing = pip.step('Installing collected packages: msgpack, torch');
    expect(installing?.text).toBe(t('setUp.installingPackages'));
    expect(installing?.bytes).toBeGreaterThan(1e9); // packages are unpacked
  });
});
