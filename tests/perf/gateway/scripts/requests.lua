-- Cycles through the requests of a file, one a line: address, and a body for writes.
-- wrk counts statuses from 400 itself. With EXPECT, every answer must hold that text.
local requests, position, wrong = {}, 0, 0
local expected = os.getenv("EXPECT")

-- wrk runs a script once in its main thread and once in each of its own.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local method, token = os.getenv("METHOD"), os.getenv("TOKEN")
  local headers = { ["Content-Type"] = "application/fhir+json", ["Accept"] = "application/fhir+json" }
  if token then headers["Authorization"] = token end
  for line in io.lines(args[1]) do
    local address, body = line:match("^(%S+)\t(.*)$")
    table.insert(requests, wrk.format(method, address or line, headers, body))
  end
  empty = 0
end

function request()
  position = position % #requests + 1
  return requests[position]
end

if expected then
  function response(status, headers, body)
    if not body:find(expected, 1, true) then empty = empty + 1 end
  end
end

function done(summary, latency, _)
  local missing = 0
  for _, thread in ipairs(threads) do missing = missing + thread:get("empty") end
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "refused": %d, "empty": %d, "broken": %d, "bytes": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, missing, errors.connect + errors.read + errors.write + errors.timeout, summary.bytes))
end
