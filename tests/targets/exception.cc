/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * N times: Watched::catches calls Watched::throws, which throws for each odd number through
 * watched_between<int>. catches returns N times; the other two return for the even numbers only.
 */
#include <stdexcept>

#include "target.h"

namespace demo {
class Watched {
public:
	WATCHED int throws(int number)
	{
		target_sink += number;
		if (number % 2)
			throw std::runtime_error("odd");
		return number;
	}
	WATCHED int catches(int number);
};
} // namespace demo

template <typename T> __attribute__((noinline)) T watched_between(demo::Watched &watched, T number)
{
	T got = watched.throws(number);
	target_sink += got;
	return got + 1;
}

WATCHED int demo::Watched::catches(int number)
{
	try {
		return watched_between<int>(*this, number);
	} catch (const std::runtime_error &) {
		return -1;
	}
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	demo::Watched watched;

	target_ready();
	for (long i = 0; i < calls; i++)
		watched.catches((int)i);
	target_end(calls);
	return 0;
}
