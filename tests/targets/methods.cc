/* SPDX-License-Identifier: GPL-2.0-or-later */
/* C++ without exceptions: a method, a virtual one, a template in two types; each 23 times. */
#include "target.h"

namespace demo
{
class Counter
{
      public:
	WATCHED int add(int number);
	WATCHED virtual int scaled(int number) const;

      private:
	int sum = 0;
};

int Counter::add(int number)
{
	STARTS_WITH_PUSH();
	sum += number;
	return sum;
}

int Counter::scaled(int number) const
{
	STARTS_WITH_PUSH();
	return sum * number;
}

template <typename T> WATCHED T twice(T number)
{
	STARTS_WITH_PUSH();
	target_sink += (long)number;
	return number + number;
}
} // namespace demo

int main()
{
	static demo::Counter counter;
	demo::Counter *volatile called = &counter; /* by its table, whoever it is */

	target_ready();
	for (int i = 0; i < TARGET_CALLS_DEFAULT; i++) {
		counter.add(i);
		called->scaled(i);
		demo::twice(i);
		demo::twice((double)i);
	}
	target_end(TARGET_CALLS_DEFAULT);
	return 0;
}
