-- Slots a step apart, with gaps and kept slots; the twin of timeline.py, which says why.
local function read_line(text)
  local line = {free_from = 0, step = 0, far = 0, gaps = {}, kept = {}}
  if not text then return line end
  local numbers = {}
  for number in string.gmatch(text, '%S+') do numbers[#numbers + 1] = tonumber(number) end
  line.free_from, line.step, line.far = numbers[1], numbers[2], numbers[3]
  local last_gap = 4 + 2 * numbers[4]
  for i = 5, last_gap, 2 do line.gaps[#line.gaps + 1] = {start = numbers[i], stop = numbers[i + 1]} end
  -- What is kept for codes is written as a negative number.
  for i = last_gap + 1, #numbers do
    line.kept[#line.kept + 1] = {at = math.abs(numbers[i]), for_codes = numbers[i] < 0}
  end
  return line
end

local function write_line(line)
  local parts = {written(line.free_from), string.format('%.6f', line.step), line.far, #line.gaps}
  for _, gap in ipairs(line.gaps) do
    parts[#parts + 1] = written(gap.start)
    parts[#parts + 1] = written(gap.stop)
  end
  for _, slot in ipairs(line.kept) do parts[#parts + 1] = written(slot.for_codes and -slot.at or slot.at) end
  return table.concat(parts, ' ')
end

local function begin_line(line, now, step)
  if step > line.step + SAME_MS then
    line.gaps, line.kept = {}, {}
    if line.step > 0 then line.free_from = line.free_from + (step - line.step) end
  end
  line.step = step
  while line.gaps[1] and line.gaps[1].stop < now do table.remove(line.gaps, 1) end
  while line.kept[1] and line.kept[1].at < now do table.remove(line.kept, 1) end
end

local function slot_from(start, lower, grid, step)
  if lower <= start then return start end
  if not grid then return lower end
  return start + math.ceil((lower - start - SAME_MS) / step) * step
end

local function fit_gaps(line, lower, reach, grid)
  for i, gap in ipairs(line.gaps) do
    if gap.stop + SAME_MS >= lower then
      local at = slot_from(gap.start, lower, grid, line.step)
      if at <= gap.stop + SAME_MS then return at, i end
    end
  end
  return slot_from(line.free_from, lower, grid and line.free_from > reach.soonest, line.step), 0
end

local function close_ms(slot, reach)
  if slot.for_codes then return reach.code and math.huge or CODES_CLOSE_MS end
  return reach.bulk and math.huge or RECLAIM_MS
end

-- When the first slot that is kept for others will have come close.
local function opens(line, reach)
  local first = math.huge
  for _, slot in ipairs(line.kept) do
    local close = close_ms(slot, reach)
    if slot.at > reach.soonest + close then first = math.min(first, slot.at - close - (reach.soonest - reach.now)) end
  end
  return first
end

-- The slot, and its place: a gap's index, 0 at the frontier, below it a kept slot.
local function fit(line, lower, reach, grid)
  local at, place = fit_gaps(line, lower, reach, grid)
  for i, slot in ipairs(line.kept) do
    if slot.at >= at then break end
    if slot.at >= lower - SAME_MS and slot.at <= reach.soonest + close_ms(slot, reach) then return slot.at, -i end
  end
  return at, place
end

local function split(gaps, index, at, step)
  local gap = table.remove(gaps, index)
  if gap.stop >= at + step - SAME_MS then table.insert(gaps, index, {start = at + step, stop = gap.stop}) end
  if gap.start <= at - step + SAME_MS then table.insert(gaps, index, {start = gap.start, stop = at - step}) end
end

local function keep(line, for_codes)
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
  if busy and not reach.code and not reach.narrow and at > reach.soonest + CODES_CLOSE_MS then keep_for_codes(line) end
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
