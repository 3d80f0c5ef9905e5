package monitors

import (
	"net/url"
	"testing"
)

// What KEDA's scaler rabbitmq asks for with protocol http, and the types that it reads the answers into.

type scaled struct {
	Messages       int    `json:"messages"`
	Ready          int    `json:"messages_ready"`
	Unacknowledged int    `json:"messages_unacknowledged"`
	Name           string `json:"name"`
	Stats          struct {
		Publish    rate `json:"publish_details"`
		DeliverGet rate `json:"deliver_get_details"`
	} `json:"message_stats"`
}

type scaledPage struct {
	Queues []scaled `json:"items"`
	Pages  int      `json:"page_count"`
}

// matching is the query for queues by a regular expression.
func matching(vhost, expression string) string {
	return "/queues/" + vhost + "?page=1&use_regex=true&pagination=false&name=" + url.QueryEscape(expression) + "&page_size=100"
}

func TestKedaQueueLength(t *testing.T) {
	queueOf(t, "%2F", "keda.one")
	equal(t, "messages before there is one", read[scaled](t, "/queues/%2F/keda.one").Messages, 0)
	publish(t, "%2F", "keda.one", 5)
	eventually(t, "length", func() bool {
		seen := read[scaled](t, "/queues/%2F/keda.one")
		return seen.Name == "keda.one" && seen.Messages == 5 && seen.Ready == 5 && seen.Unacknowledged == 0
	})
}

func TestKedaMessageRate(t *testing.T) {
	queueOf(t, "rabbit%2Fhole", "keda.rate")
	eventually(t, "rates", func() bool {
		publish(t, "rabbit%2Fhole", "keda.rate", 2)
		get(t, "rabbit%2Fhole", "keda.rate", 1)
		stats := read[scaled](t, "/queues/rabbit%2Fhole/keda.rate").Stats
		return stats.Publish.Rate > 0 && stats.DeliverGet.Rate > 0
	})
}

func TestKedaQueuesByRegularExpression(t *testing.T) {
	for _, name := range []string{"keda.a.1", "keda.a.2", "keda.b.1"} {
		queueOf(t, "%2F", name)
		publish(t, "%2F", name, 2)
	}
	eventually(t, "lengths", func() bool {
		page, sum := read[scaledPage](t, matching("%2F", `^keda\.a\.\d+$`)), 0
		for _, queue := range page.Queues {
			sum += queue.Messages
		}
		return page.Pages == 1 && len(page.Queues) == 2 && sum == 4
	})
	nothing := read[scaledPage](t, matching("%2F", "^nobody$"))
	holds(t, "one page at most where nothing matches", nothing.Pages <= 1 && len(nothing.Queues) == 0)
}
