#include "common/clock.h"

#include <algorithm>
#include <limits>

int milliseconds_until(Clock::time_point time) noexcept {
    if (time == Clock::time_point::max()) {
        return -1;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(time - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, std::numeric_limits<int>::max()));
}
