#include "common/endpoint.h"

#include <arpa/inet.h>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <netinet/in.h>
#include <string_view>

namespace {

constexpr const char* default_address = "127.0.0.1";

// atoi と違い、Number に入る、数字だけの文字列しか認めない。
template <typename Number> std::optional<Number> parse_number(std::string_view text) {
    Number number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

void print_usage(std::FILE* file, const char* program,
                 std::initializer_list<NumberArgument*> numbers) {
    std::fprintf(file, "usage: %s <port> [address]", program);
    for (const NumberArgument* const number : numbers) {
        std::fprintf(file, " [%s]", number->name);
    }
    std::fputs("\n", file);
}

// sockaddr_in か sockaddr_in6 を、どちらも入る入れ物に移す。
template <typename Address> Endpoint endpoint_of(const Address& address) {
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, &address, sizeof address);
    endpoint.length = sizeof address;
    return endpoint;
}

} // namespace

std::optional<Endpoint> parse_endpoint(const char* port, const char* address) {
    const std::optional<in_port_t> number = parse_number<in_port_t>(port);
    if (!number) {
        return std::nullopt;
    }
    sockaddr_in ipv4{};
    if (inet_pton(AF_INET, address, &ipv4.sin_addr) == 1) {
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = htons(*number);
        return endpoint_of(ipv4);
    }
    sockaddr_in6 ipv6{};
    if (inet_pton(AF_INET6, address, &ipv6.sin6_addr) == 1) {
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = htons(*number);
        return endpoint_of(ipv6);
    }
    return std::nullopt;
}

Endpoint endpoint_from_arguments(int argc, char* argv[],
                                 std::initializer_list<NumberArgument*> numbers) {
    const char* const program = argv[0];
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "-h" || argument == "--help") {
            print_usage(stdout, program, numbers);
            std::printf("  port     0 to 65535 (a server lets the kernel choose with 0)\n"
                        "  address  an IPv4 or IPv6 address without a scope (%%eth0), default %s\n",
                        default_address);
            for (const NumberArgument* const number : numbers) {
                std::printf("  %-8s %s, default %d\n", number->name, number->meaning,
                            number->value);
            }
            std::exit(std::fflush(stdout) == 0 ? 0 : 1);
        }
    }
    const auto refuse = [&] {
        print_usage(stderr, program, numbers);
        std::exit(2);
    };
    if (argc < 2 || argc > 3 + static_cast<int>(numbers.size())) {
        refuse();
    }
    const char* const address = argc > 2 ? argv[2] : default_address;
    const std::optional<Endpoint> endpoint = parse_endpoint(argv[1], address);
    if (!parse_number<in_port_t>(argv[1])) {
        std::fprintf(stderr, "error: port \"%s\" is not a number from 0 to 65535\n", argv[1]);
        refuse();
    }
    if (!endpoint) {
        std::fprintf(stderr, "error: address \"%s\" is neither IPv4 nor IPv6\n", address);
        refuse();
    }
    for (int i = 3; i < argc; ++i) {
        NumberArgument& number = **(numbers.begin() + (i - 3));
        number.value = parse_number<int>(argv[i]).value_or(0);
        if (number.value < 1) {
            std::fprintf(stderr, "error: %s \"%s\" is not a number from 1 to %d\n", number.name,
                         argv[i], std::numeric_limits<int>::max());
            refuse();
        }
    }
    return *endpoint;
}

EndpointText to_text(const Endpoint& endpoint) noexcept {
    EndpointText result = {"unknown"};
    char host[INET6_ADDRSTRLEN];
    if (endpoint.storage.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &endpoint.storage, sizeof ipv4);
        inet_ntop(AF_INET, &ipv4.sin_addr, host, sizeof host);
        std::snprintf(result.text, sizeof result.text, "%s:%d", host, ntohs(ipv4.sin_port));
    } else if (endpoint.storage.ss_family == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &endpoint.storage, sizeof ipv6);
        inet_ntop(AF_INET6, &ipv6.sin6_addr, host, sizeof host);
        std::snprintf(result.text, sizeof result.text, "[%s]:%d", host, ntohs(ipv6.sin6_port));
    }
    return result;
}

EndpointText local_address(const Socket& socket) noexcept {
    Endpoint endpoint;
    getsockname(socket.fd(), endpoint.address(), &endpoint.length); // 失敗すれば空のまま
    return to_text(endpoint);
}
