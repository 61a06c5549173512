-- Slots a step apart, with gaps, reserved slots and unused slots: docs/decisions/0002.
-- Stored as MessagePack: twenty times as fast as text, and exact to the last bit.
local function read_line(packed)
  local line = {free_from = 0, step = 0, far = 0, gaps = {}, kept = {}, unused = {}, oldest = 1}
  if not packed then return line end
  local could, numbers, unused = pcall(cmsgpack.unpack, packed)
  if not could or type(unused) ~= 'table' then
    line.free_from = now + FARTHEST_MS -- written by an older program, whose slots all lie before this
    return line
  end
  line.free_from, line.step, line.far = numbers[1], numbers[2], numbers[3]
  local last_gap = 4 + 2 * numbers[4]
  for i = 5, last_gap, 2 do line.gaps[#line.gaps + 1] = {start = numbers[i], stop = numbers[i + 1]} end
  -- A slot reserved for codes is written as a negative number.
  for i = last_gap + 1, #numbers do
    line.kept[#line.kept + 1] = {at = math.abs(numbers[i]), for_codes = numbers[i] < 0}
  end
  line.unused = unused
  return line
end

local function write_line(line)
  local numbers = {line.free_from, line.step, line.far, #line.gaps}
  for _, gap in ipairs(line.gaps) do
    numbers[#numbers + 1] = gap.start
    numbers[#numbers + 1] = gap.stop
  end
  for _, slot in ipairs(line.kept) do numbers[#numbers + 1] = slot.for_codes and -slot.at or slot.at end
  return cmsgpack.pack(numbers, line.oldest > 1 and {unpack(line.unused, line.oldest)} or line.unused)
end

-- Only the unused slots from `oldest` on are remembered: those that count, and some more.
local function forget_unused(line)
  line.oldest = math.max(line.oldest, #line.unused - line.most - math.floor(line.most / UNUSED_MORE) + 1)
end

-- The index of the first unused slot that is not before `at`, by binary search.
local function place_of(line, at)
  local low, high = line.oldest, #line.unused + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if line.unused[middle] < at then low = middle + 1 else high = middle end
  end
  return low
end

local function note_unused(line, at)
  table.insert(line.unused, place_of(line, at), at)
  forget_unused(line)
end

local function note_unused_row(line, start, many, apart)
  local first = math.max((many - 1) % apart, many - 1 - (line.most - 1) * apart)
  for place = first, many - 1, apart do note_unused(line, start + place * line.step) end
end

local function steps(line, ms) return math.floor(ms / line.step) end

local function pass_idle(line, now)
  local passed = steps(line, now - line.free_from)
  if passed > 0 then
    local recent = math.min(passed, steps(line, line.window))
    note_unused_row(line, line.free_from, passed, math.max(1, math.floor(recent / math.max(1, line.most))))
    line.free_from = line.free_from + passed * line.step
  end
end

local function window_ms(rate) return 1000.0 / (rate > VAST and VAST_USED or USED) end

local function begin_line(line, now, rate, factor)
  local most = rate > VAST and 0 or math.floor(rate * factor / UNUSED_EVERY)
  local slots = rate * factor - math.floor(rate * factor / SPARE_EVERY) + most
  local step = math.ceil(window_ms(rate) / slots * FINEST) / FINEST
  if step > line.step + SAME_MS then
    line.gaps, line.kept = {}, {}
    if line.step > 0 then line.free_from = line.free_from + (step - line.step) end
  end
  line.step, line.window, line.most = step, step * slots, most
  while line.gaps[1] and line.gaps[1].stop < now do
    local gap = table.remove(line.gaps, 1)
    note_unused_row(line, gap.start, steps(line, gap.stop - gap.start + SAME_MS) + 1, 1)
  end
  while line.kept[1] and line.kept[1].at < now do note_unused(line, table.remove(line.kept, 1).at) end
  pass_idle(line, now)
end

local function is_unused(line, at)
  local there = line.unused[place_of(line, at - SAME_MS)]
  return there ~= nil and there <= at + SAME_MS
end

-- The index of the first unused slot in the future whose window has room for one more message.
local function next_left_out(line, soonest)
  for i = place_of(line, soonest), #line.unused do
    if i - place_of(line, line.unused[i] - line.window + SAME_MS) >= line.most - 1 then return i end
  end
end

local function miss(line, slot, soonest)
  if slot <= now - line.window or slot > now or is_unused(line, slot) then return end
  if line.free_from - line.step < slot + line.window - SAME_MS then
    local left_out = next_left_out(line, soonest)
    if left_out then
      local at = table.remove(line.unused, left_out)
      local place = #line.gaps + 1
      while place > 1 and line.gaps[place - 1].start > at do place = place - 1 end
      table.insert(line.gaps, place, {start = at, stop = at})
    end
  end
  note_unused(line, slot)
end

local function is_ripe(line, at)
  if line.most == 0 then return true end
  local oldest = #line.unused - line.most + 1
  return oldest >= line.oldest and line.unused[oldest] > at - line.window + SAME_MS
end

local function leave_out(line)
  note_unused(line, line.free_from)
  line.free_from = line.free_from + line.step
end

local function slot_from(start, lower, grid, step)
  if lower <= start then return start end
  if not grid then return lower end
  return start + math.ceil((lower - start - SAME_MS) / step) * step
end

local function fit_frontier(line, lower, reach, grid)
  while true do
    local at = slot_from(line.free_from, lower, grid and line.free_from > reach.soonest, line.step)
    if is_ripe(line, at) then return at end
    if at - line.free_from < line.step - SAME_MS then line.free_from = at end
    leave_out(line)
  end
end

local function fit_gaps(line, lower, reach, grid)
  for i, gap in ipairs(line.gaps) do
    if gap.stop + SAME_MS >= lower then
      local at = slot_from(gap.start, lower, grid, line.step)
      if at <= gap.stop + SAME_MS then return at, i end
    end
  end
  return fit_frontier(line, lower, reach, grid), 0
end

local function codes_close_ms(line)
  return math.min(CODES_CLOSE_MOST_MS, math.max(CODES_CLOSE_LEAST_MS, CODES_CLOSE_STEPS * line.step))
end

local function close_ms(slot, reach, line)
  if slot.for_codes then return reach.code and math.huge or codes_close_ms(line) end
  return reach.bulk and math.huge or RECLAIM_MS
end

-- When the first slot that is reserved for others becomes available.
local function opens(line, reach)
  local first = math.huge
  for _, slot in ipairs(line.kept) do
    local close = close_ms(slot, reach, line)
    if slot.at > reach.soonest + close then first = math.min(first, slot.at - close - (reach.soonest - reach.now)) end
  end
  return first
end

-- The slot and where it is: the index of a gap, 0 at the frontier, negative for a reserved slot.
local function fit(line, lower, reach, grid)
  local at, place = fit_gaps(line, lower, reach, grid)
  for i, slot in ipairs(line.kept) do
    if slot.at >= at then break end
    if slot.at >= lower - SAME_MS and slot.at <= reach.soonest + close_ms(slot, reach, line) then return slot.at, -i end
  end
  return at, place
end

local function split(gaps, index, at, step)
  local gap = table.remove(gaps, index)
  if gap.stop >= at + step - SAME_MS then table.insert(gaps, index, {start = at + step, stop = gap.stop}) end
  if gap.start <= at - step + SAME_MS then table.insert(gaps, index, {start = gap.start, stop = at - step}) end
end

local function keep(line, for_codes)
  while not is_ripe(line, line.free_from) do leave_out(line) end
  line.kept[#line.kept + 1] = {at = line.free_from, for_codes = for_codes}
  line.free_from = line.free_from + line.step
end

local function keep_for_bulk(line)
  line.far = line.far + 1
  if line.far >= KEEP_EVERY then
    line.far = 0
    keep(line, false)
  end
end

local function keep_for_codes(line)
  local apart, newest = math.max(2 * line.step, math.min(CODES_EVERY * line.step, CODES_MS)), -math.huge
  for _, slot in ipairs(line.kept) do
    if slot.for_codes then newest = slot.at end
  end
  if apart <= BULK_REACH_MS and line.free_from - newest >= apart - SAME_MS then keep(line, true) end
end

local function move_frontier(line, at, reach)
  local step, start = line.step, math.max(line.free_from, reach.now)
  if start <= at - step + SAME_MS then line.gaps[#line.gaps + 1] = {start = start, stop = at - step} end
  local busy = at <= line.free_from + SAME_MS
  line.free_from = at + step
  if not reach.bulk and at > reach.soonest + BULK_REACH_MS then keep_for_bulk(line) end
  if busy and not reach.code and not reach.narrow and at > reach.soonest + codes_close_ms(line) then keep_for_codes(line) end
end

local function take(line, at, place, reach)
  if place < 0 then
    table.remove(line.kept, -place)
  elseif place == 0 then
    move_frontier(line, at, reach)
  else
    split(line.gaps, place, at, line.step)
  end
  while #line.gaps > MOST_GAPS do table.remove(line.gaps, 1) end
  while #line.kept > MOST_GAPS do table.remove(line.kept, 1) end
end
