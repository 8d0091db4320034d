"""One or two examples of every benchmark in the files it is distributed in, and what they are.

DISTRIBUTED: {task: (split, {file: content}, examples)}; content as `prepared.write` takes it.
"""

from tests.tasks.prepared import table

MULTIRC = {
    "idx": 3,
    "passage": {
        "text": "<b>Sent 1: </b>Ann ate.<br><b>Sent 2: </b>Bob slept.",
        "questions": [
            {"idx": 7, "question": "Who ate?",
             "answers": [{"idx": 20, "text": "Ann", "label": 1}, {"idx": 21, "text": "Bob", "label": 0}]}
        ],
    },
}  # fmt: skip
RECORD_TEXT = "The Zoo\n@highlight\nA penguin and a pigeon\n@highlight\nlive in Rome."
RECORD = {
    "idx": 1,
    "passage": {"text": RECORD_TEXT, "entities": [{"start": 34, "end": 39}, {"start": 61, "end": 64}, {"start": 61,
     "end": 64}]},
    "qas": [{"idx": 4, "query": "A @placeholder is a city.", "answers": [{"start": 61, "end": 64, "text": "Rome"}]}],
}  # fmt: skip
WSC = {
    "idx": 2, "text": "Mark told Pete many lies about himself , and he believed them.", "label": True,
    "target": {"span1_index": 2, "span1_text": "Pete", "span2_index": 9, "span2_text": "he"},
}  # fmt: skip
WIC = {
    "idx": 0, "word": "place", "sentence1": "Do you want to come over to my place later?",
    "sentence2": "A political system with no place for the less prominent groups.", "start1": 31, "end1": 36,
     "start2": 27,
    "end2": 32, "label": False,
}  # fmt: skip
SQUAD = {
    "version": "v2.0",
    "data": [{"title": "t", "paragraphs": [{"context": "Beyonc\u00e9 sang in Rome.", "qas": [
        {"id": "q1", "question": "Who sang?", "is_impossible": False,
         "answers": [{"text": "Beyonc\u00e9", "answer_start": 0}, {"text": "Rome", "answer_start": 16}]},
        {"id": "q2", "question": "Who danced?", "is_impossible": True, "answers": [],
         "plausible_answers": [{"text": "Rome", "answer_start": 16}]},
    ]}]}],
}  # fmt: skip
SQUAD_EXAMPLES = [
    {"id": "q1", "question": "Who sang?", "context": "Beyonc\u00e9 sang in Rome.", "answers": (("Beyonc\u00e9", 0),
     ("Rome", 16))},
    {"id": "q2", "question": "Who danced?", "context": "Beyonc\u00e9 sang in Rome.", "answers": ()},
]  # fmt: skip
CONLL = (
    "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n\n"
    "Peter NNP B-NP B-PER\n. . O O\n"
)
CONLLU = (
    "# sent_id = 1\n# text = don't go\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_\n"
    "2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_\n3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_\n3.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_\n\n"
)
SEMEVAL = (
    '8001\t"The <e1>cup</e1> holds "hot" <e2>tea</e2>."\nContent-Container(e2,e1)\nComment: fine.\n\n'
    '8002\t"A <e1>dog</e1> and a <e2>cat</e2>."\nOther\nComment:\n\n'
)
TACRED = {
    "id": "e7", "relation": "per:title", "token": ["Ann", "Lee", "is", "the", "mayor", "."],
    "subj_start": 0, "subj_end": 1, "obj_start": 4, "obj_end": 4, "subj_type": "PERSON", "obj_type": "TITLE",
}  # fmt: skip
COPA = {
    "premise": "My body cast a shadow.", "choice1": "The sun was rising.", "choice2": "The grass was cut.",
    "question": "cause", "label": 0, "idx": 0,
}  # fmt: skip
NLI = {"gold_label": "neutral", "sentence1": "A man.", "sentence2": "A tall man.", "pairID": "p1"}
MNLI_COLUMNS = ("index", "promptID", "sentence1_binary_parse", "sentence1", "sentence2", "label1", "gold_label")
STSB_COLUMNS = (
    "index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2", "score"
)  # fmt: skip
BLIMP = {
    "sentence_good": "Who should Derek hug after shocking Richard?",
    "sentence_bad": "Who should Derek hug Richard after shocking?",
    "field": "syntax", "linguistics_term": "island_effects", "UID": "adjunct_island", "simple_LM_method": True,
    "one_prefix_method": False, "two_prefix_method": False, "lexically_identical": True, "pairID": "7",
}  # fmt: skip
T_REX = {
    "uuid": "a1-f0", "obj_uri": "Q142", "obj_label": "France", "sub_uri": "Q90", "sub_label": "Paris",
    "predicate_id": "P17", "evidences": [
        {"sub_surface": "Paris", "obj_surface": "France", "masked_sentence": "Paris lies in [MASK] and [MASK]."}],
}  # fmt: skip
RELATIONS = [
    {"relation": "P19", "template": "[X] was born in [Y] .", "label": "place of birth", "description": "", "type":
     "N-1"},
    {"relation": "P17", "template": "[X] is located in [Y] .", "label": "country", "description": "", "type": "N-1"},
]  # fmt: skip
LETTERS = {
    "id": "a1", "answerKey": "B",
    "question": {"stem": "The sun is", "choices": [{"text": "blue", "label": "A"}, {"text": "hot", "label": "B"}]},
}  # fmt: skip
RACE = '{"id": "high1.txt", "article": "Ann ate.", "questions": ["_ ate.", "Who?"], "answers": ["A", "D"], ' \
    '"options": [["Ann", "Bob", "Eve", "Tom"], ["Bob", "Eve", "Tom", "Ann"]]}'  # fmt: skip
RACE_EXAMPLES = [
    {
        "id": "high1.txt-0",
        "context": "Ann ate.",
        "choices": ("Ann ate.", "Bob ate.", "Eve ate.", "Tom ate."),
        "label": 0,
    },
    {
        "id": "high1.txt-1",
        "context": "Ann ate.",
        "choices": ("Who? Bob", "Who? Eve", "Who? Tom", "Who? Ann"),
        "label": 3,
    },
]
STORY = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,RandomFifthSentenceQuiz1,"
    'RandomFifthSentenceQuiz2,AnswerRightEnding\nx1,"One, two.",Two.,Three.,Four.,Good.,Bad.,2\n'
)
LAMBADA = '\u201cNo,\u201d he said.\n\nShe didn\'t say "hello"'

_CLASS = {"text": "A man.", "text_b": "A tall man.", "label": 1}


def _sides(source, target, name, suffixes):
    return ("validation", {f"{name}.{suffixes[0]}": f"{source}\n", f"{name}.{suffixes[1]}": f"{target}\n"},
            [{"id": "0", "inputs": source, "targets": target}])  # fmt: skip


DISTRIBUTED = {
    "cola": ("train", {"train.tsv": table(("gj04", "1", "", 'He said "hi".'), ("gj04", "0", "*", "He sad."))},
             [{"id": "0", "text": 'He said "hi".', "label": 1}, {"id": "1", "text": "He sad.", "label": 0}]),
    "sst2": ("test", {"test.tsv": table(("index", "sentence"), ("5", "good film"))},
             [{"id": "5", "text": "good film", "label": None}]),
    "mrpc": ("train", {"train.tsv": "\ufeff" + table(("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
                                                     ("1", "7", "8", "One.", "1."))},
             [{"id": "0", "text": "One.", "text_b": "1.", "label": 1}]),
    "qqp": ("train", {"train.tsv": table(("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
                                         ("4", "1", "2", "Why?", "Why not?", "0"), ("5", "1", "cut off"))},
            [{"id": "4", "text": "Why?", "text_b": "Why not?", "label": 0}]),
    "stsb": ("train", {"train.tsv": table(STSB_COLUMNS, (
                "0", "main-captions", "MSRvid", "2012", "1", "none", "none", 'A "plane.', "It's 5\" long.", "5.000"),
                ("1", "main-news", "headlines", "2016", "0002", "none", "none", "A.", "B.", "3.8"))},
             [{"id": "0", "text": 'A "plane.', "text_b": "It's 5\" long.", "label": 5.0},
              {"id": "1", "text": "A.", "text_b": "B.", "label": 3.8}]),
    "mnli": ("validation", {"dev_matched.tsv": table(MNLI_COLUMNS, ("0", "1", "( a )", "A man.", "A tall man.",
                                                                    "entailment", "neutral"))},
             [{"id": "0", **_CLASS}]),
    "mnli_mismatched": ("validation", {"dev_mismatched.tsv": table(MNLI_COLUMNS, (
        "0", "1", "( a )", "A man.", "A tall man.", "entailment", "neutral"))}, [{"id": "0", **_CLASS}]),
    "qnli": ("train", {"train.tsv": table(("index", "question", "sentence", "label"),
                                          ("3", "Who?", "Ann.", "not_entailment"))},
             [{"id": "3", "text": "Who?", "text_b": "Ann.", "label": 1}]),
    "rte": ("train", {"train.tsv": table(("index", "sentence1", "sentence2", "label"), ("3", "A.", "B.",
     "entailment"))},
            [{"id": "3", "text": "A.", "text_b": "B.", "label": 0}]),
    "wnli": ("train", {"train.tsv": table(("index", "sentence1", "sentence2", "label"), ("3", "A.", "B.", "1"))},
             [{"id": "3", "text": "A.", "text_b": "B.", "label": 1}]),
    "boolq": ("validation", {"val.jsonl": [{"question": "is it", "passage": "It is.", "idx": 9, "label": True}]},
              [{"id": "9", "text": "is it", "text_b": "It is.", "label": 1}]),
    "cb": ("test", {"test.jsonl": [{"premise": "P.", "hypothesis": "H", "idx": 9}]},
           [{"id": "9", "text": "P.", "text_b": "H", "label": None}]),
    "copa": ("train", {"train.jsonl": [COPA]},
             [{"id": "0", "context": "My body cast a shadow. What was the cause of this?",
               "choices": ("The sun was rising.", "The grass was cut."), "label": 0}]),
    "multirc": ("train", {"train.jsonl": [MULTIRC]},
                [{"id": f"3-7-{n}", "group": "3-7", "text": MULTIRC["passage"]["text"], "text_b": f"Who ate? {name}",
                  "label": label} for n, name, label in ((20, "Ann", 1), (21, "Bob", 0))]),
    "record": ("validation", {"val.jsonl": [RECORD]},
               [{"id": "1-4", "question": "A @placeholder is a city.", "context": RECORD_TEXT, "answers": (("Rome",
                61),)}]),
    "super_glue_rte": ("train", {"train.jsonl": [{"premise": "P.", "hypothesis": "H.", "label": "not_entailment",
     "idx": 1}]},
                       [{"id": "1", "text": "P.", "text_b": "H.", "label": 1}]),
    "wic": ("train", {"train.jsonl": [WIC]},
            [{"id": "0", "text": f"place: {WIC['sentence1']}", "text_b": WIC["sentence2"], "label": 0}]),
    "wsc": ("train", {"train.jsonl": [WSC]},
            [{"id": "2", "text": "Mark told Pete many lies about himself , and *he* believed them.", "text_b": "Pete",
              "label": 1}]),
    "snli": ("train", {"snli_1.0_train.jsonl": [NLI | {"gold_label": "-"}, NLI]}, [{"id": "p1", **_CLASS}]),
    "scitail": ("train", {"snli_format/scitail_1.0_train.txt": [NLI | {"gold_label": "entailment"}]},
                [{"id": "p1", **_CLASS, "label": 0}]),
    "semeval_2010_task_8": ("test", {"TEST_FILE_FULL.TXT": SEMEVAL},
                            [{"id": "8001", "text": 'The <e1>cup</e1> holds "hot" <e2>tea</e2>.', "label": 5},
                             {"id": "8002", "text": "A <e1>dog</e1> and a <e2>cat</e2>.", "label": 18}]),
    "tacred": ("train", {"train.json": f"[{TACRED}, {TACRED | {'relation': 'no_relation', 'id': 'e8'}}]".replace("'",
     '"')},
               [{"id": id, "text": "<e1> Ann Lee </e1> is the <e2> mayor </e2> .", "label": label}
                for id, label in (("e7", 1), ("e8", 0))]),
    "hellaswag": ("train", {"hellaswag_train.jsonl": [{"ind": 4, "ctx": "A man", "endings": list("abcd"), "label": 2}]},
                  [{"id": "4", "context": "A man", "choices": ("a", "b", "c", "d"), "label": 2}]),
    "piqa": ("train", {"train.jsonl": [{"goal": "Open.", "sol1": "Pull.", "sol2": "Push."}], "train-labels.lst": "1\n"},
             [{"id": "0", "context": "Open.", "choices": ("Pull.", "Push."), "label": 1}]),
    "openbookqa": ("validation", {"Data/Main/dev.jsonl": [LETTERS]},
                   [{"id": "a1", "context": "The sun is", "choices": ("blue", "hot"), "label": 1}]),
    "commonsense_qa": ("validation", {"dev_rand_split.jsonl": [LETTERS]},
                       [{"id": "a1", "context": "The sun is", "choices": ("blue", "hot"), "label": 1}]),
    "race_high": ("validation", {"dev/high/1.txt": RACE}, RACE_EXAMPLES),
    "race_middle": ("train", {"train/middle/1.txt": RACE}, RACE_EXAMPLES),
    "winogrande": ("train", {"train_xl.jsonl": [{"qID": "w", "sentence": "Ann paid Bob as _ was rich.",
     "option1": "Ann",
                                                 "option2": "Bob", "answer": "1"}]},
                   [{"id": "w", "context": "Ann paid Bob as", "choices": ("Ann was rich.", "Bob was rich."),
                    "label": 0}]),
    "story_cloze": ("validation", {"cloze_test_val__spring2016 - cloze_test_ALL_val.csv": STORY},
                    [{"id": "x1", "context": "One, two. Two. Three. Four.", "choices": ("Good.", "Bad."), "label": 1}]),
    "squad": ("train", {"train-v1.1.json": [SQUAD]}, SQUAD_EXAMPLES),
    "squad_v2": ("validation", {"dev-v2.0.json": [SQUAD]}, SQUAD_EXAMPLES),
    "conll2003": ("train", {"eng.train": CONLL},
                  [{"id": "0", "words": ["EU", "rejects", "German"], "tags": [4, 0, 8]},
                   {"id": "1", "words": ["Peter", "."], "tags": [1, 0]}]),
    "conll2003_pos": ("test", {"test.txt": CONLL},
                      [{"id": "0", "words": ["EU", "rejects", "German"], "tags": [22, 42, 16]},
                       {"id": "1", "words": ["Peter", "."], "tags": [22, 7]}]),
    "universal_dependencies": ("train", {"en_ewt-ud-train.conllu": CONLLU},
                               [{"id": "0", "words": ["do", "n't", "go"], "tags": [3, 9, 15]}]),
    "cnn_dailymail": _sides("An article.", "Its highlights.", "val", ("source", "target")),
    "xsum": _sides("A document.", "Its summary.", "val", ("source", "target")),
    "wmt14_en_de": _sides("One house.", "Ein Haus.", "dev", ("en", "de")),
    "wmt14_en_fr": _sides("One house.", "Une maison.", "valid", ("en", "fr")),
    "wmt16_en_ro": _sides("One house.", "O cas\u0103.", "val", ("en", "ro")),
    "wmt16_ro_en": _sides("O cas\u0103.", "One house.", "val", ("ro", "en")),
    "natural_questions": ("train", {"NQ-open.train.jsonl": [{"question": "who sang", "answer": ["Ann", "Ann Lee"]}]},
                          [{"id": "0", "inputs": "who sang", "targets": "Ann", "references": ("Ann", "Ann Lee")}]),
    "web_questions": ("test",
     {"webquestions.examples.test.json": '[{"url": "u", "utterance": "who sang?", "targetValue": '
                               '"(list (description \\"Ann Lee\\") (description Bob))"}]'},
                      [{"id": "u", "inputs": "who sang?", "targets": "Ann Lee", "references": ("Ann Lee", "Bob")}]),
    "trivia_qa": ("validation", {"unfiltered-web-dev.json": [{"Data": [
        {"QuestionId": "t1", "Question": "Who sang?", "Answer": {"Value": "Ann", "Aliases": ["Ann Lee", "Ann"]}}]}]},
        [{"id": "t1", "inputs": "Who sang?", "targets": "Ann", "references": ("Ann", "Ann Lee")}]),
    "wikitext2": ("test",
     {"wiki.test.tokens": " \n = One = \n \n Text one . \n = = Part = = \n \n = Two = \n Text two . \n"},
                  [{"id": "0", "text": " \n = One = \n \n Text one . \n = = Part = = \n \n"},
                   {"id": "1", "text": " = Two = \n Text two . \n"}]),
    "wikitext103": ("train", {"wiki.train.raw": " = One = \n Text \u2028 one . \n"},
                    [{"id": "0", "text": " = One = \n Text \u2028 one . \n"}]),
    "ptb": ("validation", {"ptb.valid.txt": " no it was n't \n <unk> N \n"},
            [{"id": "0", "text": " no it was n't \n <unk> N \n"}]),
    "enwik8": ("validation", {"enwik8": "a" * 17 + "\u00e9x"}, [{"id": "0", "text": "\u00e9"}]),
    "text8": ("test", {"text8": "abcdefghij" * 4}, [{"id": "0", "text": "ij"}]),
    "lm1b": ("test", {"heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050": "One .\nTwo .\n"},
             [{"id": "0", "text": "One ."}, {"id": "1", "text": "Two ."}]),
    "blimp": ("validation", {"data/adjunct_island.jsonl": [BLIMP]},
              [{"id": "adjunct_island/7", "texts": (BLIMP["sentence_good"], BLIMP["sentence_bad"]), "label": 0,
                "paradigm": "adjunct_island", "field": "syntax", "phenomenon": "island_effects"}]),
    "lama": ("validation", {"relations.jsonl": RELATIONS, "TREx/P17.jsonl": [T_REX]},
             [{"id": "a1-f0", "text": "Paris is located in [MASK] .", "answer": "France", "paradigm": "P17"}]),
    "lambada": ("test", {"lambada_test.jsonl": [{"text": LAMBADA}]}, [{"id": "0", "text": LAMBADA}]),
}  # fmt: skip
