-- wrk: GET PREFIX .. a random line of LIST, again and again. wrk … -s urls.lua URL -- LIST PREFIX
local list = {}
function init(args)
	math.randomseed(os.time() + tonumber(tostring({}):sub(8), 16) % 100000)
	for line in io.lines(args[1]) do
		list[#list + 1] = wrk.format("GET", args[2] .. line)
	end
end
function request()
	return list[math.random(#list)]
end
