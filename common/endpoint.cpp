#include "common/endpoint.h"

#include <arpa/inet.h>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <getopt.h>
#include <limits>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <vector>

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
                 std::initializer_list<NumberOption*> options) {
    std::fprintf(file, "usage: %s <port> [address]", program);
    for (const NumberOption* const number : options) {
        std::fprintf(file, " [--%s N]", number->name);
    }
    std::fputs("\n", file);
}

[[noreturn]] void print_help(const char* program, std::initializer_list<NumberOption*> options) {
    print_usage(stdout, program, options);
    std::printf("  port           0 to 65535 (a server lets the kernel choose with 0)\n"
                "  address        an IPv4 or IPv6 address without a scope (%%eth0), default %s\n",
                default_address);
    for (const NumberOption* const number : options) {
        std::printf("  --%-12s %s, default %d\n", (std::string(number->name) + " N").c_str(),
                    number->meaning, number->value);
    }
    std::exit(std::fflush(stdout) == 0 ? 0 : 1);
}

// sockaddr_in か sockaddr_in6 を、どちらも入る sockaddr_storage にコピーする。
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
                                 std::initializer_list<NumberOption*> options) {
    const auto refuse = [&](const std::string& reason) {
        if (!reason.empty()) {
            std::fprintf(stderr, "error: %s\n", reason.c_str());
        }
        print_usage(stderr, argv[0], options);
        std::exit(2);
    };
    std::vector<option> names; // getopt_long は、見つけた名前の番号を index に入れる
    for (const NumberOption* const number : options) {
        names.push_back({number->name, required_argument, nullptr, 0});
    }
    names.insert(names.end(), {{"help", no_argument, nullptr, 'h'}, {}});
    int index = 0;
    for (int found = 0; (found = getopt_long(argc, argv, "h", names.data(), &index)) != -1;) {
        if (found == 'h') {
            print_help(argv[0], options);
        }
        if (found == '?') {
            refuse(""); // 理由は getopt_long が書いた
        }
        NumberOption& number = **(options.begin() + index);
        number.value = parse_number<int>(optarg).value_or(0);
        if (number.value < 1) {
            refuse(std::string("--") + number.name + " \"" + optarg +
                   "\" is not a number from 1 to " +
                   std::to_string(std::numeric_limits<int>::max()));
        }
    }
    if (optind == argc || argc - optind > 2) {
        refuse("");
    }
    const char* const port = argv[optind];
    const char* const address = argc - optind == 2 ? argv[optind + 1] : default_address;
    const std::optional<Endpoint> endpoint = parse_endpoint(port, address);
    if (!parse_number<in_port_t>(port)) {
        refuse(std::string("port \"") + port + "\" is not a number from 0 to 65535");
    }
    if (!endpoint) {
        refuse(std::string("address \"") + address + "\" is neither IPv4 nor IPv6");
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
