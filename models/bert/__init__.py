"""Questions on texts (SQuAD v1.1), answered by BERT-Large."""
