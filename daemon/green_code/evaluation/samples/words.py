"""Count the words of text files."""

import argparse
import collections
import re


def count_words(text):
    counts = collections.Counter()
    for word in re.findall(r"[a-z']+", text.lower()):
        counts[word] += 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="files to read")
    parser.add_argument("--top", type=int, default=10, help="how many words to show")
    args = parser.parse_args()
    counts = collections.Counter()
    for name in args.files:
        with open(name, encoding="utf-8") as file:
            counts.update(count_words(file.<|>read()))
    for word, count in counts.most_common(args.top):
        print(f"{count:6} {word}")


if __name__ == "__main__":
    main()
