-- wrk: GET PREFIX .. a random line of LIST, again and again; with CODING, that is accepted.
-- wrk … -s urls.lua URL -- LIST PREFIX [CODING]
local list = {}
function init(args)
	local headers = args[3] and { ["Accept-Encoding"] = args[3] } or {}
	math.randomseed(os.time() + tonumber(tostring({}):sub(8), 16) % 100000)
	for line in io.lines(args[1]) do
		list[#list + 1] = wrk.format("GET", args[2] .. line, headers)
	end
end
function request()
	return list[math.random(#list)]
end
