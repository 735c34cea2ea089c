#include "mobula/jobs/log_stream.hpp"

#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mobula::jobs {
namespace {

namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::asio::ip::tcp;
using Socket = websocket::stream<tcp::socket>;

/// A dashboard whose connections are served one after the other, each by a function of its own.
class Dashboard {
 public:
  explicit Dashboard(std::vector<std::function<void(Socket&)>> connections) {
    address.host = "127.0.0.1";
    address.port = listener_.local_endpoint().port();
    thread_ = std::thread([this, connections = std::move(connections)] {
      for (const auto& serve : connections) {
        Socket socket(listener_.accept());
        beast::flat_buffer buffer;
        beast::http::request<beast::http::string_body> request;
        beast::error_code error;
        beast::http::read(socket.next_layer(), buffer, request, error);
        targets.emplace_back(request.target());
        tokens.emplace_back(request[beast::http::field::authorization]);
        socket.accept(request, error);
        if (!error) serve(socket);
      }
    });
  }
  Dashboard(const Dashboard&) = delete;
  Dashboard& operator=(const Dashboard&) = delete;
  ~Dashboard() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  JobAddress address;
  std::vector<std::string> targets, tokens;

 private:
  boost::asio::io_context context_;
  tcp::acceptor listener_{context_, {boost::asio::ip::address_v4::loopback(), 0}};
  std::thread thread_;
};

void say(Socket& socket, const std::string& text) {
  beast::error_code ignored;
  socket.text(true);
  socket.write(boost::asio::buffer(text), ignored);
}
void close(Socket& socket) {
  beast::error_code ignored;
  socket.close(websocket::close_code::normal, ignored);
}
void cut_off(Socket& socket) {
  beast::error_code ignored;
  beast::get_lowest_layer(socket).close(ignored);
}

struct Reader {
  std::string text;
  LogStream::End follow(LogStream& stream) {
    return stream.follow([this](std::string_view piece) { text += piece; }, [] { return false; });
  }
};

TEST(LogStream, GivesOnWhatComesUntilTheClusterCloses) {
  Dashboard dashboard({[](Socket& socket) {
    say(socket, "one\n");
    say(socket, "two\n");
    close(socket);
  }});
  LogStream stream(dashboard.address, "secret", "job 1");
  Reader reader;
  EXPECT_EQ(reader.follow(stream), LogStream::End::closed);
  EXPECT_EQ(reader.text, "one\ntwo\n");
  dashboard.join();
  EXPECT_EQ(dashboard.targets, std::vector<std::string>{"/api/jobs/job%201/logs/tail"});
  EXPECT_EQ(dashboard.tokens, std::vector<std::string>{"Bearer secret"});
}

TEST(LogStream, GivesOnOnlyWhatIsNewAfterABreak) {
  Dashboard dashboard({[](Socket& socket) {
                         say(socket, "one\ntw");
                         cut_off(socket);
                       },
                       [](Socket& socket) {
                         say(socket, "one\n");
                         cut_off(socket);
                       },
                       [](Socket& socket) {
                         say(socket, "one\n");
                         say(socket, "two\nthree\n");
                         close(socket);
                       }});
  LogStream stream(dashboard.address, "", "job");
  Reader reader;
  EXPECT_EQ(reader.follow(stream), LogStream::End::broken);
  EXPECT_FALSE(stream.problem().empty());
  EXPECT_EQ(reader.follow(stream), LogStream::End::broken);
  EXPECT_EQ(reader.text, "one\ntw");
  EXPECT_EQ(reader.follow(stream), LogStream::End::closed);
  EXPECT_EQ(reader.text, "one\ntwo\nthree\n");
  dashboard.join();
  EXPECT_EQ(dashboard.tokens[0], "");
}

TEST(LogStream, EndsWhenItIsToldToWhileNothingComes) {
  Dashboard dashboard({[](Socket& socket) {
    beast::flat_buffer buffer;
    beast::error_code error;
    socket.read(buffer, error);  // until the client leaves
  }});
  LogStream stream(dashboard.address, "", "job");
  int asked = 0;
  EXPECT_EQ(stream.follow([](std::string_view) {}, [&] { return ++asked == 3; }), LogStream::End::stopped);
}

TEST(LogStream, SaysWhyThereIsNoConnection) {
  Dashboard dashboard({});
  const JobAddress address = dashboard.address;
  dashboard.join();
  JobAddress unknown = address;
  unknown.host = "nowhere.invalid";
  Reader reader;
  LogStream stream(unknown, "", "job");
  EXPECT_EQ(reader.follow(stream), LogStream::End::broken);
  EXPECT_FALSE(stream.problem().empty());
}

}  // namespace
}  // namespace mobula::jobs
