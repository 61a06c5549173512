-- Slots a step apart, with gaps; the twin of timeline.py, which says why.
local function read_line(text)
  local line = {free_from = 0, step = 0, far = 0, gaps = {}}
  if not text then return line end
  local numbers = {}
  for number in string.gmatch(text, '%S+') do numbers[#numbers + 1] = tonumber(number) end
  line.free_from, line.step, line.far = numbers[1], numbers[2], numbers[3]
  for i = 4, #numbers, 3 do
    line.gaps[#line.gaps + 1] = {start = numbers[i], stop = numbers[i + 1], kept = numbers[i + 2] == 1}
  end
  return line
end

local function write_line(line)
  local parts = {written(line.free_from), string.format('%.6f', line.step), line.far}
  for _, gap in ipairs(line.gaps) do
    parts[#parts + 1] = written(gap.start)
    parts[#parts + 1] = written(gap.stop)
    parts[#parts + 1] = gap.kept and 1 or 0
  end
  return table.concat(parts, ' ')
end

local function begin_line(line, now, step)
  if math.abs(step - line.step) > SAME_MS then
    line.gaps = {}
    if line.step > 0 then line.free_from = line.free_from + math.max(0, step - line.step) end
  end
  line.step = step
  while line.gaps[1] and line.gaps[1].stop < now do table.remove(line.gaps, 1) end
end

local function slot_from(start, lower, grid, step)
  if lower <= start then return start end
  if not grid then return lower end
  return start + math.ceil((lower - start - SAME_MS) / step) * step
end

local function fit(line, lower, reach, grid)
  for i, gap in ipairs(line.gaps) do
    if not gap.kept or reach.bulk or gap.start <= reach.soonest + RECLAIM_MS then
      local at = slot_from(gap.start, lower, grid, line.step)
      if at <= gap.stop + SAME_MS then return at, i end
    end
  end
  return slot_from(line.free_from, lower, grid and line.free_from > reach.soonest, line.step), 0
end

local function move_frontier(line, at, reach)
  local gaps, step = line.gaps, line.step
  local start = math.max(line.free_from, reach.now)
  if start <= at - step + SAME_MS then gaps[#gaps + 1] = {start = start, stop = at - step, kept = false} end
  line.free_from = at + step
  if not reach.bulk and at > reach.soonest + BULK_REACH_MS then
    line.far = line.far + 1
    if line.far >= KEEP_EVERY then
      line.far = 0
      gaps[#gaps + 1] = {start = line.free_from, stop = line.free_from, kept = true}
      line.free_from = line.free_from + step
    end
  end
end

local function take(line, at, index, reach)
  local gaps, step = line.gaps, line.step
  if index > 0 then
    local gap = table.remove(gaps, index)
    if gap.stop >= at + step - SAME_MS then
      table.insert(gaps, index, {start = at + step, stop = gap.stop, kept = gap.kept})
    end
    if gap.start <= at - step + SAME_MS then
      table.insert(gaps, index, {start = gap.start, stop = at - step, kept = gap.kept})
    end
  else
    move_frontier(line, at, reach)
  end
  while #gaps > MOST_GAPS do table.remove(gaps, 1) end
end
