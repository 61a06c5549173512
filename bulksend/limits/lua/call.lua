-- A look saves nothing. But that Redis lost the script is seen only once, so what it means is saved at once.
if call.restarted then save_state() end
if looks[call.act] then return looks[call.act]() end
local reply = acts[call.act]()
save_state()
return reply
