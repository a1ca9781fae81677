// The figures of a run as one line of JSON.
export function report(data) {
  const value = (name, field) => (data.metrics[name] ? data.metrics[name].values[field] : 0);
  const kinds = {};
  for (const name of Object.keys(data.metrics)) {
    if (!name.startsWith('took_')) continue;
    const kind = name.slice(5);
    kinds[kind] = {
      p50_ms: value(name, 'med'), p99_ms: value(name, 'p(99)'), errors: value(`errors_${kind}`, 'count'),
    };
  }
  return {
    stdout: JSON.stringify({
      requests: value('http_reqs', 'count'), seconds: data.state.testRunDurationMs / 1000,
      p50_ms: value('http_req_duration', 'med'), p99_ms: value('http_req_duration', 'p(99)'),
      errors: value('errors', 'count'), kinds,
    }) + '\n',
  };
}
