// Score one photograph with a model that `cavga export` wrote; needs ONNX Runtime (headers and library) alone.
//
//   g++ -std=c++17 -O2 predict.cpp -o predict -I ORT/include -L ORT/lib -lonnxruntime -Wl,-rpath,ORT/lib
//   ./predict model.onnx photograph.ppm [threshold]
//
// ORT is an unpacked release of ONNX Runtime (Debian: `pkg-config --cflags --libs libonnxruntime`). `convert
// photograph.jpg -auto-orient -depth 8 photograph.ppm` (ImageMagick) makes a PPM; the graph takes any 8-bit RGB.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>

struct Photograph { int64_t height, width; std::vector<uint8_t> rgb; };

Photograph read_ppm(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int64_t largest = 0;
    Photograph photograph{};
    if (!file) throw std::runtime_error(std::string(path) + " does not exist, or cannot be opened");
    file >> kind;
    std::string comment;
    for (int64_t* number : {&photograph.width, &photograph.height, &largest}) {
        while ((file >> std::ws).peek() == '#') std::getline(file, comment);
        file >> *number;
    }
    file.get();  // one blank, then the pixels
    if (!file || kind != "P6" || largest != 255) throw std::runtime_error(std::string(path) + " is no 8-bit PPM (P6)");
    photograph.rgb.resize(3 * photograph.width * photograph.height);
    file.read(reinterpret_cast<char*>(photograph.rgb.data()), photograph.rgb.size());
    if (!file) throw std::runtime_error(std::string(path) + " ends too early");
    return photograph;
}

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: predict model.onnx photograph.ppm [threshold]");
    Ort::Env env(ORT_LOGGING_LEVEL_ERROR);
    Ort::Session session(env, std::filesystem::path(argv[1]).c_str(), Ort::SessionOptions());
    Ort::AllocatorWithDefaultOptions allocator;
    // Its description is JSON in its metadata, with the threshold of its training: parse it where you can.
    auto description = session.GetModelMetadata().LookupCustomMetadataMapAllocated("cavga", allocator);
    const char* found = description ? std::strstr(description.get(), "\"image_threshold\": ") : nullptr;
    if (!found) throw std::runtime_error("not a model that `cavga export` wrote");
    // Tiles and a region of interest are not in the graph: its score of a whole photograph would be another one.
    if (std::strstr(description.get(), "\"tile_overlap\": ") || std::strstr(description.get(), "\"roi\": {"))
        throw std::runtime_error("this model has tiles or a region of interest, which this sample does not cut");
    const char* given = argc > 3 ? argv[3] : std::strchr(found, ' ');
    char* end;
    float threshold = std::strtof(given, &end);
    if (end == given || (argc > 3 && *end)) throw std::runtime_error("the threshold must be a number");
    Photograph photograph = read_ppm(argv[2]);
    const int64_t shape[] = {1, photograph.height, photograph.width, 3};  // a batch of one
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Value inputs[] = {
        Ort::Value::CreateTensor<uint8_t>(memory, photograph.rgb.data(), photograph.rgb.size(), shape, 4),
        Ort::Value::CreateTensor<float>(memory, &threshold, 1, nullptr, 0)};
    const char* input_names[] = {"photographs", "image_threshold"};  // pixel_threshold: the model's own
    const char* output_names[] = {"score", "is_anomalous", "mask"};
    auto outputs = session.Run({}, input_names, inputs, 2, output_names, 3);
    const bool* mask = outputs[2].GetTensorData<bool>();
    const auto size = outputs[2].GetTensorTypeAndShapeInfo().GetElementCount();
    std::cout << std::setprecision(9) << "score " << *outputs[0].GetTensorData<float>() << "\nthreshold "
              << threshold << "\ndecision " << (*outputs[1].GetTensorData<bool>() ? "anomalous" : "normal") << "\nmask "
              << 100.0 * std::count(mask, mask + size, true) / size << " %\n";
} catch (const std::exception& error) { std::cerr << error.what() << "\n"; return 1; }
