// テストするサーバーの表。
#pragma once

#include <string>
#include <vector>

struct Model {
    std::string name;    // "chapter02"
    std::string program; // 起こすプログラム "build/chapter02"
    bool concurrent;     // 二人目のクライアントを待たせない
    bool forks;          // クライアントごとにプロセスを作る
    bool threads;        // クライアントごとにスレッドを作る
};

const std::vector<Model>& models();

// 作ったものが入るフォルダー (make の BUILD)。
std::string build_directory();
